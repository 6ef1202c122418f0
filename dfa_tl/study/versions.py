"""What identifies the code that makes a study's results: the version, and a hash of what computes.

A release is told by its version; a checkout that is worked on is told by its sources. Results of
other code are never taken for results of this one: they stay readable, and are made anew in a run.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMPUTES = (
    "nodes.py",
    "scores.py",
    "seeds.py",
    "passes.py",
    "models",
    "tasks",
    "attribution",
    "alignment",
    "controls",
    "evaluation",
    "study/circuits.py",
    "study/cost.py",
    "study/measurement.py",
    "study/run_job.py",
)


@cache
def code_identity() -> str:
    """`0.1.0 3f2a91c07be4d865`."""
    try:
        release = version("dfa_tl")
    except PackageNotFoundError:
        release = "unknown"
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for part in COMPUTES:
        place = package / part
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(package).as_posix()}\n".encode())
            digest.update(file.read_bytes())
    return f"{release} {digest.hexdigest()[:16]}"
