"""Short names for what a piece of work depends on."""

import hashlib
import json
from pathlib import Path


BLOCK_BYTES = 1 << 16
MOST_BLOCKS = 128  # of a file: enough to tell one set of weights from another, read in no time


def fingerprint(value: object) -> str:
    """SHA-256 in hexadecimal of anything that JSON can write; the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def file_fingerprint(path: Path) -> str:
    """
    SHA-256 in hexadecimal of a file's size and bytes; of a large file, of blocks from its beginning to its end.

    Raises:
        FileNotFoundError: if there is none.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    num_blocks = -(-size // BLOCK_BYTES)
    step = max(1, num_blocks / MOST_BLOCKS)
    with open(path, "rb") as file:
        for number in range(min(num_blocks, MOST_BLOCKS)):
            file.seek(int(number * step) * BLOCK_BYTES)
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()
