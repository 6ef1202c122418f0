"""A task: one record, and a function that draws its pairs.

A function `draw(rng, allowed) -> PromptPair` draws one pair. Each *problem* (what a prompt asks,
however it is worded) has a key, and a stable hash of the key assigns it to exactly one split:
`train` 80 %, `validation` 10 %, `test` 10 %. `allowed(key)` says whether a problem belongs to the
split being drawn. The clean and the corrupt prompt of a pair thus come from the same split, and no
problem is in two splits.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dfa_tl.errors import ConfigError, DataError
from dfa_tl.tasks.prompt_pair import PromptPair

ATTEMPTS_PER_PAIR = 200
SPLITS = ("train", "validation", "test")

Allowed = Callable[[str], bool]
Draw = Callable[[random.Random, Allowed], PromptPair]


@dataclass(frozen=True)
class Task:
    """A generated task.

    Attributes:
        name: The name that `load_task` takes.
        family: Tasks of a family share their mechanism.
        draw: Draws one pair of a split.
        description: What the prompt asks, and how the corrupt prompt differs.
        reference: Where the literature studies the task.
        related: The tasks that the near-distribution regime trains on for this one.
        words: Every word of its prompts and answers, for a task that the bundled models solve;
            empty for a task in natural English.
        changed_words: How many words the corrupt prompt may replace, each in its position; empty
            where it states the same facts in another order.
        is_notation: The prompts are code or symbols, so they are not spaced as prose is.
    """

    name: str
    family: str
    draw: Draw
    description: str
    reference: str
    related: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()
    changed_words: tuple[int, ...] = (1,)
    is_notation: bool = False

    @property
    def is_toy(self) -> bool:
        """Whether the bundled models can do it."""
        return bool(self.words)


def split_of(key: str) -> str:
    """The one split that the problem `key` belongs to, on every machine and in every run."""
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def check_split(split: str) -> None:
    """Raise `ConfigError` unless `split` is one of `SPLITS`."""
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")


def check_pair_count(n: int | None) -> None:
    """Raise `ConfigError` unless `n` is None or at least 1."""
    if n is not None and n < 1:
        raise ConfigError(f"n={n}: ask for at least one pair")


def stream_pairs(task: Task, *, split: str, seed: int) -> Iterator[PromptPair]:
    """An endless, reproducible stream of pairs of one split, with repetitions."""
    check_split(split)
    rng = random.Random(f"{task.name}/{split}/{seed}")
    while True:
        yield task.draw(rng, lambda key: split_of(key) == split)


def generate_pairs(task: Task, n: int, *, split: str, seed: int) -> list[PromptPair]:
    """`n` distinct pairs of one split.

    Raises:
        ConfigError: `n` is below 1, or the split is unknown.
        DataError: the split does not hold `n` distinct pairs.
    """
    check_pair_count(n)
    found: dict[PromptPair, None] = {}
    for attempt, pair in enumerate(stream_pairs(task, split=split, seed=seed)):
        found.setdefault(pair)
        if len(found) == n:
            return list(found)
        if attempt > ATTEMPTS_PER_PAIR * n + 20_000:
            break
    raise DataError(
        f"task {task.name!r}, split {split!r}: only {len(found)} distinct pairs were found, "
        f"{n} were asked for; ask for fewer"
    )
