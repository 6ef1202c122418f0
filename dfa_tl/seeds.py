"""Seeds that are derived from their purpose."""

from __future__ import annotations

import hashlib


def seed_of(*parts: object) -> int:
    """A seed that depends on every part, the same on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big")
