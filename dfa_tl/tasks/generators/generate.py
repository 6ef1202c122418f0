"""Seeded pair generation with disjoint splits.

A generator module offers `draw(rng, allowed) -> PromptPair`. Each *problem* (what a prompt asks,
whatever its surface variations) has a key, and a stable hash of the key assigns it to exactly one
split: `train` 80 %, `validation` 10 %, `test` 10 %. `allowed(key)` tells the generator whether a
problem belongs to the split being drawn, so the clean and the corrupt prompt of a pair always come
from the same split and no problem is seen in two of them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator

from dfa_tl.errors import ConfigError, DataError
from dfa_tl.tasks.prompt_pair import PromptPair

ATTEMPTS_PER_PAIR = 200
SPLITS = ("train", "validation", "test")

Allowed = Callable[[str], bool]
Draw = Callable[[random.Random, Allowed], PromptPair]


def split_of(key: str) -> str:
    """The one split that the problem `key` belongs to; the same on every machine and run."""
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def check_split(split: str) -> None:
    """Raise `ConfigError` unless `split` is one of `SPLITS`."""
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")


def stream(draw: Draw, *, name: str, split: str, seed: int) -> Iterator[PromptPair]:
    """An endless, reproducible stream of pairs of one split (with repetitions)."""
    check_split(split)
    rng = random.Random(f"{name}/{split}/{seed}")
    while True:
        yield draw(rng, lambda key: split_of(key) == split)


def generate(draw: Draw, n: int, *, name: str, split: str, seed: int) -> list[PromptPair]:
    """`n` distinct pairs of one split.

    Raises:
        ConfigError: `n` is not positive, or the split is unknown.
        DataError: the split does not hold `n` distinct pairs.
    """
    if n < 1:
        raise ConfigError(f"n={n}: ask for at least one pair")
    found: dict[PromptPair, None] = {}
    for attempt, pair in enumerate(stream(draw, name=name, split=split, seed=seed)):
        found.setdefault(pair)
        if len(found) == n:
            return list(found)
        if attempt > ATTEMPTS_PER_PAIR * n + 20_000:
            raise DataError(
                f"task {name!r}, split {split!r}: only {len(found)} distinct pairs were found, "
                f"{n} were asked for; ask for fewer"
            )
    raise AssertionError("the stream is endless")
