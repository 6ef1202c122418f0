"""Tasks by name."""

from __future__ import annotations

from pathlib import Path

from dfa_tl.errors import ConfigError
from dfa_tl.tasks import arc, arithmetic, ioi, mcqa
from dfa_tl.tasks.generate import Draw, generate
from dfa_tl.tasks.mib import SOURCES, load_mib
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
    name: str,
    *,
    split: str = "train",
    n: int | None = None,
    seed: int = 0,
    path: str | Path | None = None,
) -> PairDataset:
    """Pairs of a generated task, or of a task of the Mechanistic Interpretability Benchmark.

    Args:
        name: `ioi`, `mcqa`, `arithmetic_addition`, `arithmetic_subtraction`, `arc_easy` or
            `arc_challenge`, generated from the words that the bundled models know; or the same
            after `mib/`: the benchmark's data, see `dfa_tl.tasks.mib`.
        split: `train`, `validation` or `test`; no generated problem is in two of them.
        n: How many pairs. By default 100 of a generated task, and all of a benchmark's split.
            Of a benchmark task, the first `n` that pass its filters with the model's tokenizer.
        seed: Which sample of the split; the same on every machine. A benchmark's pairs are in its
            own order with seed 0, and shuffled with another.
        path: For a benchmark task, a folder with a copy of its data set; None fetches it from the
            Hugging Face hub.

    Raises:
        ConfigError: unknown task or split, `n` below 1, or a path with a generated task.
        DataError: the split does not hold `n` distinct pairs, or a benchmark's data set cannot be
            loaded.
    """
    if name.startswith("mib/"):
        return load_mib(name, split=split, n=n, seed=seed, path=path)
    if name not in GENERATORS:
        raise ConfigError(
            f"unknown task {name!r}: choose one of {', '.join([*GENERATORS, *SOURCES])}"
        )
    if path is not None:
        raise ConfigError(f"path: {name!r} is generated; the benchmark's task is 'mib/{name}'")
    size = DEFAULT_SIZE if n is None else n
    pairs = generate(GENERATORS[name], size, name=name, split=split, seed=seed)
    return PairDataset(tuple(pairs), name=name)
