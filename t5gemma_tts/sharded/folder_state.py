"""Which work an output folder belongs to, and whether it has finished."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


class FolderState:
    """
    The settings that decide what a piece of work writes, kept beside what it has written.

    Args:
        output (`str` or `os.PathLike`): Folder of the work.
        kind (`str`): One word for the work, such as "preparation": its settings are in `preparation.json`.
        settings (`dict`): Of this run; anything that JSON can write.
    """

    def __init__(self, output: str | os.PathLike[str], kind: str, settings: dict[str, Any]):
        self.output, self.kind = Path(output), kind
        self.settings = json.loads(json.dumps(settings, default=str))

    @property
    def path(self) -> Path:
        return self.output / f"{self.kind}.json"

    @property
    def _draft(self) -> Path:
        return self.path.with_suffix(".tmp")

    def stored(self) -> dict[str, Any] | None:
        """
        Raises:
            ValueError: if the file is damaged.
        """
        if not self.path.is_file():
            return None
        try:
            return json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{str(self.path)!r} is damaged ({error}): pass --overwrite to start anew.") from error

    @property
    def is_complete(self) -> bool:
        stored = self.stored()
        return stored is not None and stored["complete"]

    def begin(self, overwrite: bool = False) -> None:
        """
        Takes the folder for this work, or goes on with it if it is the same.

        Raises:
            FileExistsError: if the folder holds something else.
            ValueError: if it was begun with other settings; names them.
        """
        begun = (lock_file(self.kind), self._draft.name)  # a run that was killed at once has left no more than these
        has_files = self.output.is_dir() and any(path.name not in begun for path in self.output.iterdir())
        if has_files and not self.path.is_file():
            raise FileExistsError(f"`output` {str(self.output)!r} is not empty, and not of a {self.kind}.")
        if overwrite and has_files:
            self._clear()
        stored = self.stored()
        if stored is None:
            self.output.mkdir(parents=True, exist_ok=True)
            self._write(complete=False)
            return
        before = stored["settings"]
        changed = [
            f"{name}: {json.dumps(before.get(name))} before, {json.dumps(self.settings.get(name))} now"
            for name in sorted(before.keys() | self.settings.keys())
            if before.get(name) != self.settings.get(name)
        ]
        if changed:
            raise ValueError(
                f"{str(self.output)!r} was begun with other settings ({'; '.join(changed)}): repeat them to go on, "
                "choose another `output`, or pass --overwrite to start anew."
            )

    def finish(self) -> None:
        self._write(complete=True)

    def _clear(self) -> None:
        for path in self.output.iterdir():
            if path.name in (lock_file(self.kind), self.path.name):
                continue
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        self.path.unlink()  # last, so that a killed clearing can be repeated

    def _write(self, complete: bool) -> None:
        self._draft.write_text(
            json.dumps({"complete": complete, "settings": self.settings}, indent=2), encoding="utf-8"
        )
        os.replace(self._draft, self.path)


def lock_file(kind: str) -> str:
    return f".{kind}.lock"


@contextlib.contextmanager
def exclusive(output: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """
    Keeps a second run of this kind of work out of the folder. The system takes the lock from a process that is killed.

    Raises:
        OSError: if another run has it.
    """
    Path(output).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(output) / lock_file(kind), timeout=0):
            yield
    except Timeout as error:
        raise OSError(f"another {kind} is writing to {str(output)!r}: wait for it, or end it.") from error
