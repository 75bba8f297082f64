"""State of an output folder: the job that writes it, its settings, and whether it has finished."""

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
    The settings of a job, stored in its output folder so that a run resumes only a job with the same settings.

    Args:
        output (`str` or `os.PathLike`): Output folder.
        kind (`str`): Kind of job, such as "preparation", whose settings are stored in `preparation.json`.
        settings (`dict`): Settings of this run, JSON-serializable.
    """

    def __init__(self, output: str | os.PathLike[str], kind: str, settings: dict[str, Any]):
        self.output, self.kind = Path(output), kind
        self.settings = json.loads(json.dumps(settings, default=str))

    @property
    def path(self) -> Path:
        return self.output / f"{self.kind}.json"

    @property
    def _temporary(self) -> Path:
        return self.path.with_suffix(".tmp")

    def load(self) -> dict[str, Any] | None:
        """
        Loads the stored state, `{"complete": bool, "settings": dict}`; None if there is none.

        Raises:
            ValueError: if the file is damaged.
        """
        if not self.path.is_file():
            return None
        try:
            return json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{str(self.path)!r} is damaged ({error}). Pass --overwrite to start again.") from error

    @property
    def is_complete(self) -> bool:
        stored = self.load()
        return stored is not None and stored["complete"]

    def begin(self, overwrite: bool = False) -> None:
        """
        Starts the job in the folder, or resumes it if the folder holds the same job.

        Raises:
            FileExistsError: if the folder holds other files.
            ValueError: if the job was started with different settings; the message lists them.
        """
        # a run that was killed early leaves only these files
        ignored = (lock_file(self.kind), self._temporary.name)
        has_files = self.output.is_dir() and any(path.name not in ignored for path in self.output.iterdir())
        if has_files and not self.path.is_file():
            raise FileExistsError(f"`output` {str(self.output)!r} is not empty and holds no {self.kind}.")
        if overwrite and has_files:
            self._clear()
        stored = self.load()
        if stored is None:
            self.output.mkdir(parents=True, exist_ok=True)
            self._write(complete=False)
            return
        previous = stored["settings"]
        changed = [
            f"{name}: {json.dumps(previous.get(name))} before, {json.dumps(self.settings.get(name))} now"
            for name in sorted(previous.keys() | self.settings.keys())
            if previous.get(name) != self.settings.get(name)
        ]
        if changed:
            raise ValueError(
                f"{str(self.output)!r} was started with different settings ({'; '.join(changed)}). Use the same "
                "settings to resume, choose another `output`, or pass --overwrite to start again."
            )

    def finish(self) -> None:
        self._write(complete=True)

    def _clear(self) -> None:
        for path in self.output.iterdir():
            if path.name in (lock_file(self.kind), self.path.name):
                continue
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        self.path.unlink()  # last, so that an interrupted removal can be repeated

    def _write(self, complete: bool) -> None:
        self._temporary.write_text(
            json.dumps({"complete": complete, "settings": self.settings}, indent=2), encoding="utf-8"
        )
        os.replace(self._temporary, self.path)


def lock_file(kind: str) -> str:
    return f".{kind}.lock"


@contextlib.contextmanager
def exclusive_lock(output: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """
    Locks the folder against a second job of this kind. The system releases the lock if the process is killed.

    Raises:
        OSError: if another job holds the lock.
    """
    Path(output).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(output) / lock_file(kind), timeout=0):
            yield
    except Timeout as error:
        raise OSError(f"another {kind} is writing to {str(output)!r}. Wait for it or stop it.") from error
