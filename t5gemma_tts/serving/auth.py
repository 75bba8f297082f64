"""API keys."""

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path


class ApiKeys:
    """
    The API keys that the server accepts, stored as SHA-256 digests.

    Args:
        keys (iterable of `str`): accepted keys, of printable ASCII characters without spaces.

    Raises:
        ValueError: if there are no keys, or if a key has characters that an HTTP header cannot carry.
    """

    def __init__(self, keys: Iterable[str]):
        keys = list(keys)
        if not keys:
            raise ValueError("the list of API keys is empty; without keys the server would accept everyone.")
        for number, key in enumerate(keys, start=1):  # the message has no key: messages end up in logs
            if not key.isascii() or not key.isprintable() or " " in key or not key:
                raise ValueError(f"API key {number} must consist of printable ASCII characters without spaces.")
        self._digests = [_digest(key.encode()) for key in keys]

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "ApiKeys":
        """
        Reads one key per line. Blank lines and lines that start with # are ignored.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is not UTF-8 text, or has no valid keys.
        """
        try:
            lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError:
            raise ValueError(f"{os.fspath(path)!r} must be a text file of API keys, in UTF-8.") from None
        return cls(line for line in lines if line and not line.startswith("#"))

    def allows(self, authorization: bytes | None) -> bool:
        """Whether an `Authorization` header holds an accepted key. Every wrong key takes the same time to reject."""
        scheme, _, key = (authorization or b"").partition(b" ")
        given = _digest(key.strip())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return scheme.lower() == b"bearer" and any(matches)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


__all__ = ["ApiKeys"]
