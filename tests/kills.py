"""Runs that are killed during their file operations."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


class Killed(BaseException):
    """Simulates a kill: a BaseException, which no code catches."""


@contextlib.contextmanager
def killed_after(num_operations: int, dataset_class: type) -> Iterator[None]:
    """Raises `Killed` in the file operation (move, remove, save) with this number."""
    operations = 0

    def stop_at(function):
        def counted(*args, **kwargs):
            nonlocal operations
            operations += 1
            if operations > num_operations:
                raise Killed
            return function(*args, **kwargs)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((os, "replace"), (shutil, "rmtree"), (Path, "rmdir"), (dataset_class, "save_to_disk")):
            patch.setattr(module, name, stop_at(getattr(module, name)))
        yield
