"""Fingerprints of checkpoints, which prevent resuming a batch with another model."""

from pathlib import Path

from transformers.utils.hub import cached_file, extract_commit_hash

from ..sharded.fingerprint import file_fingerprint, fingerprint


SUFFIXES = (".bin", ".json", ".model", ".pt", ".pth", ".safetensors", ".txt")


def checkpoint_fingerprint(name: str) -> str | None:
    """
    Returns the fingerprint of a checkpoint.

    For a folder, it is a hash of the weights, configuration and tokenizer, and does not depend on the path. For a Hub
    repository, it is the commit, or None if the commit is unknown.

    Raises:
        OSError: if there is no such checkpoint.
    """
    folder = Path(name)
    if not folder.is_dir():
        try:
            return extract_commit_hash(cached_file(name, "config.json"), None)
        except OSError as error:
            raise OSError(f"no checkpoint at {name!r}: {error}") from error
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return fingerprint([(path.relative_to(folder).as_posix(), file_fingerprint(path)) for path in files])
