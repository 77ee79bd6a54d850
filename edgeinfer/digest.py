"""The SHA-256 of a model file, without OpenSSL where the file is small."""

from __future__ import annotations

import sys

# From here on OpenSSL's speed is worth the 2 ms and 3 MB that loading it takes.
_LARGE = 1 << 22
# The interpreter's own, which the standard library's random.py takes for the same reason.
_LEAN = "_sha2" if sys.version_info >= (3, 12) else "_sha256"


def sha256_of(data: bytes) -> str:
    """The digest in hexadecimal."""
    name = "hashlib" if len(data) >= _LARGE else _LEAN
    try:
        module = __import__(name)
    except ImportError:
        module = __import__("hashlib")
    digest: str = module.sha256(data).hexdigest()
    return digest
