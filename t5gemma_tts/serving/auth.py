"""API keys."""

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path


class ApiKeys:
    """
    Args:
        keys (iterable of `str`): that are let in.

    Raises:
        ValueError: if there is none, or one that no header can carry.
    """

    def __init__(self, keys: Iterable[str]):
        keys = list(keys)
        if not keys:
            raise ValueError("there is not one API key; without keys everybody is let in.")
        for number, key in enumerate(keys, start=1):  # which is not repeated: messages end up in logs
            if not key.isascii() or not key.isprintable() or " " in key or not key:
                raise ValueError(
                    f"an API key must be of printable ASCII characters without blanks, key {number} is not."
                )
        self._digests = [_digest(key.encode()) for key in keys]

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "ApiKeys":
        """One key on each line; blank lines and those that begin with # are passed over."""
        try:
            lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError:
            raise ValueError(f"{os.fspath(path)!r} must be a text file of API keys, in UTF-8.") from None
        return cls(line for line in lines if line and not line.startswith("#"))

    def allows(self, authorization: bytes | None) -> bool:
        """Whether an `Authorization` header brings a key; takes as long for any that does not."""
        scheme, _, key = (authorization or b"").partition(b" ")
        given = _digest(key.strip())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return scheme.lower() == b"bearer" and any(matches)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


__all__ = ["ApiKeys"]
