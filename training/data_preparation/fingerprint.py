"""A short name for what a preparation depends on."""

import hashlib
import json


def fingerprint(value) -> str:
    """SHA-256 in hexadecimal of anything that JSON can write; the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
