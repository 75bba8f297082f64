"""Fault injection: full disks, truncated and overwritten files."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, num_bytes: int):
    """
    Yields a function that gives the disk mounted at `folder` another size in bytes. Skips the test where none can be
    mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def mount(size: int, *options: str) -> bool:
        settings = ",".join([*options, f"size={size}"])
        command = ["mount", "-t", "tmpfs", "-o", settings, "tmpfs", str(folder)]
        with contextlib.suppress(FileNotFoundError):
            return subprocess.run(command, capture_output=True).returncode == 0
        return False

    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not mount(num_bytes):
        pytest.skip("mounting a small disk needs root")
    try:
        yield lambda size: mount(size, "remount")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def small_files(num_bytes: int):
    """Limits the file size of this process, so that writes fail as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def cut(path: Path, share: float = 0.5) -> None:
    """Truncates a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def overwrite(path: Path, start: int, content: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + len(content)] = content
    path.write_bytes(data)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns all files in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
