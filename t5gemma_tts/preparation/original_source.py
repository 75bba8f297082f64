"""Source rows from a dataset folder of the original project.

    text/<id>.txt                   transcript
    xcodec2_1cb/<id>.txt            codes, separated by spaces, on one line
    manifest_final/<split>.txt      lines `<id> TAB <number of codes>`; split is train, valid or test
    neighbors/<id>.txt              lines `<id>.txt TAB <distance> TAB <seconds>`; optional

Ids may contain folders (`3f/utterance`). A manifest may be split into several files, `train_<key>=<value>.txt`.
"""

from pathlib import Path

import numpy as np

from ..sharded.files import file_within, read_utf8
from ..sharded.fingerprint import fingerprint
from .metadata import LARGEST_CODEBOOK
from .rows import BadRow, SourceRow
from .splitting import TRAIN, VALIDATION


SPLITS = {"train": TRAIN, "valid": VALIDATION, "test": "test"}


class OriginalSource:
    """
    Rows of a folder of the original project, in the order of its manifests.

    Args:
        folder (`str` or `os.PathLike`)
        text_folder, codes_folder, manifest_folder, neighbors_folder (`str`, *optional*): Names of the subfolders.

    Raises:
        ValueError: if there is no manifest, or a manifest has an invalid line.
    """

    def __init__(
        self,
        folder,
        text_folder: str = "text",
        codes_folder: str = "xcodec2_1cb",
        manifest_folder: str = "manifest_final",
        neighbors_folder: str = "neighbors",
    ):
        self.folder = Path(folder)
        self.text_folder, self.codes_folder = self.folder / text_folder, self.folder / codes_folder
        self.neighbors_folder = self.folder / neighbors_folder
        self.ids, self._splits, self._num_frames = [], [], []
        manifests = self.folder / manifest_folder
        for name, split in SPLITS.items():
            whole = manifests / f"{name}.txt"
            for path in [whole] if whole.is_file() else sorted(manifests.glob(f"{name}_*=*.txt")):
                self._read_manifest(path, split)
        if not self.ids:
            raise ValueError(f"no rows in {str(manifests)!r}: expected train.txt, and optionally valid.txt, test.txt.")

    def _read_manifest(self, path: Path, split: str) -> None:
        for number, line in enumerate(read_utf8(path).split("\n"), start=1):
            if not line.strip():
                continue
            row_id, *cells = line.strip().split("\t")
            try:
                num_frames = int(float(cells[0]))
            except (IndexError, ValueError, OverflowError):
                raise ValueError(
                    f"{str(path)!r}, line {number}: expected `id TAB number of codes`, got {line[:80]!r}."
                ) from None
            self.ids.append(row_id)
            self._splits.append(split)
            self._num_frames.append(num_frames)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        return fingerprint([self.ids, self._splits, self._num_frames])

    def file_of(self, index: int) -> str:
        """Returns the file to name in messages about a row: its codes."""
        return str(self.codes_folder / f"{self.ids[index]}.txt")

    def __getitem__(self, index: int) -> SourceRow:
        """
        Raises:
            BadRow: if the transcript cannot be read, or the id points outside the folder.
        """
        name = f"{self.ids[index]}.txt"
        try:
            path = file_within(self.text_folder, name)
        except ValueError as error:
            raise BadRow("metadata", str(error)) from error
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:  # ValueError also for invalid file names
            raise BadRow("transcript", f"cannot read the transcript {str(path)!r}: {error}") from error
        return SourceRow(
            text=text,
            codes_file=self.file_of(index),
            neighbors_file=self.neighbors_folder / name,
            manifest_num_frames=self._num_frames[index],
            split=self._splits[index],
        )


def read_codes(path, codebook_size: int) -> np.ndarray:
    """
    Reads the codes of one utterance.

    Returns:
        `np.ndarray` of uint16, shape (num_frames,).

    Raises:
        BadRow: if the file is missing, empty or damaged, has several codebooks, or codes out of range.
    """
    path = Path(path)
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if len(lines) > 1:
            raise BadRow("codes", f"{str(path)!r} has {len(lines)} lines; one codebook, on one line, is supported.")
        # parse as int64, because uint16 would wrap around out-of-range codes
        codes = np.array([int(code) for line in lines for code in line.split()], dtype=np.int64)
    except BadRow:
        raise
    except (OSError, ValueError, OverflowError) as error:
        raise BadRow("codes", f"cannot read the codes {str(path)!r}: {error}") from error
    if not len(codes):
        raise BadRow("codes", f"{str(path)!r} holds no codes.")
    outside = np.flatnonzero((codes < 0) | (codes >= min(codebook_size, LARGEST_CODEBOOK)))
    if len(outside):
        raise BadRow(
            "codes",
            f"code {codes[outside[0]]} at frame {outside[0]} of {str(path)!r} is out of range: codes must be in "
            f"[0, {codebook_size}).",
        )
    return codes.astype(np.uint16)


def read_neighbors(path) -> tuple[list[str], list[float | None]]:
    """
    Reads the neighbors of one utterance.

    Returns:
        `(ids, distances)`: in file order, empty if there is no file. A distance is None if its line has none; its unit
        depends on the source.

    Raises:
        BadRow: if the file is damaged.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return [], []
    except (OSError, UnicodeDecodeError) as error:
        raise BadRow("neighbors", f"cannot read the neighbors {str(path)!r}: {error}") from error
    ids, distances = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row_id, *cells = line.strip().split("\t")
        try:
            distances.append(float(cells[0]) if cells else None)
        except ValueError:
            raise BadRow(
                "neighbors", f"{str(path)!r}, line {number}: the distance must be a number, got {cells[0]!r}."
            ) from None
        ids.append(row_id.removesuffix(".txt"))
    return ids, distances
