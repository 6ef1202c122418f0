"""The generated tasks by name."""

from __future__ import annotations

from dfa_tl.errors import ConfigError
from dfa_tl.tasks import arc, arithmetic, ioi, mcqa
from dfa_tl.tasks.generate import Draw, generate
from dfa_tl.tasks.pairs import PairDataset

GENERATORS: dict[str, Draw] = {
    "ioi": ioi.draw,
    "mcqa": mcqa.draw,
    "arithmetic_addition": arithmetic.draw_addition,
    "arithmetic_subtraction": arithmetic.draw_subtraction,
    "arc_easy": arc.draw_easy,
    "arc_challenge": arc.draw_challenge,
}
WORDS: frozenset[str] = frozenset(ioi.WORDS | mcqa.WORDS | arithmetic.WORDS | arc.WORDS)
"""Every word that a generated prompt or answer can contain."""

DEFAULT_SIZE = 100


def load_task(
    name: str, *, split: str = "train", n: int | None = None, seed: int = 0
) -> PairDataset:
    """Pairs of one of the six generated tasks.

    Args:
        name: `ioi`, `mcqa`, `arithmetic_addition`, `arithmetic_subtraction`, `arc_easy` or
            `arc_challenge`.
        split: `train`, `validation` or `test`; no problem is in two of them.
        n: How many pairs (default 100).
        seed: Which sample of the split; the same on every machine.

    Raises:
        ConfigError: unknown task or split, or `n` below 1.
        DataError: the split does not hold `n` distinct pairs.
    """
    if name not in GENERATORS:
        raise ConfigError(f"unknown task {name!r}: choose one of {', '.join(GENERATORS)}")
    size = DEFAULT_SIZE if n is None else n
    pairs = generate(GENERATORS[name], size, name=name, split=split, seed=seed)
    return PairDataset(tuple(pairs), name=name)
