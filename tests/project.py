"""Reads the project's metadata from `setup.py`."""

from pathlib import Path

import setuptools


ROOT = Path(__file__).parents[1]


def setup_arguments(folder: Path, monkeypatch) -> dict:
    """Returns the arguments that the `setup.py` in a folder passes to setuptools."""
    arguments: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **given: arguments.update(given))
    monkeypatch.chdir(folder)
    path = folder / "setup.py"
    exec(compile(path.read_text(), str(path), "exec"), {"__file__": str(path)})
    return arguments
