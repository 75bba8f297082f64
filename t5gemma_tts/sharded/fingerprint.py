"""Fingerprints of values and files, which tell a resumed run whether its inputs have changed."""

import hashlib
import json
from pathlib import Path


BLOCK_BYTES = 1 << 16
MAX_BLOCKS = 128  # per file: 8 MiB distinguish two sets of weights and are read quickly


def fingerprint(value: object) -> str:
    """Returns the hexadecimal SHA-256 of a JSON-serializable value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def file_fingerprint(path: Path) -> str:
    """
    Returns the hexadecimal SHA-256 of a file's size and content; for a large file, of evenly spaced blocks.

    Raises:
        FileNotFoundError: if the file does not exist.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    num_blocks = -(-size // BLOCK_BYTES)
    step = max(1, num_blocks / MAX_BLOCKS)
    with open(path, "rb") as file:
        for index in range(min(num_blocks, MAX_BLOCKS)):
            file.seek(int(index * step) * BLOCK_BYTES)
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()
