"""A task of your own by name: a file of pairs, or a folder with a file for each split.

    greater_than.csv                      one half of its pairs is for training, the other for test
    data/greater_than/train.csv
    data/greater_than/test.csv
    data/greater_than/validation.jsonl    needed only where a study chooses settings on it

The files are those of `read_pairs`. The task is named after its path, which has the ending of such
a file or a slash (`./greater_than`), so that it cannot be mistaken for a task of the package.
"""

from __future__ import annotations

import random
from pathlib import Path

from dfa_tl.errors import ConfigError, DataError
from dfa_tl.io.atomic import user_path
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.sources.tables import READERS, read_pairs
from dfa_tl.tasks.task import check_pair_count, check_split


def is_path(name: str) -> bool:
    """Whether a task's name is the path of a file or a folder of pairs."""
    return _is_file(name) or (("/" in name or "\\" in name) and not name.startswith("mib/"))


def load_own(name: str, *, split: str, n: int | None, seed: int) -> PairDataset:
    """Pairs of one split of a file or a folder; the arguments are those of `load_task`.

    Raises:
        ConfigError: there is no such folder, no file or several for the split, or `n` is below 1.
        FileFormatError: a file cannot be read.
        DataError: there are fewer than `n` pairs, some are in two splits, or `read_pairs` finds
            faults.
    """
    check_split(split)
    check_pair_count(n)
    if _is_file(name):
        file = user_path(name)
        pairs = _half(file, split)
    else:
        file = _file_of_split(name, split)
        pairs = list(read_pairs(file).pairs)
        if split != "train":
            _check_disjoint(file, pairs, _file_of_split(name, "train"))
    if n is not None and len(pairs) < n:
        which = f"{len(pairs)} {split} pairs" if _is_file(name) else str(len(pairs))
        raise DataError(f"{file}: {n} pairs were asked for, and it holds {which}")
    if seed:
        random.Random(f"{split}/{seed}").shuffle(pairs)
    return PairDataset(tuple(pairs), name=name, on_invalid="drop", limit=n)


def _is_file(name: str) -> bool:
    return Path(name).suffix in READERS


def _half(file: Path, split: str) -> list[PromptPair]:
    """The train or the test half of a file: the same pairs for every seed and on every machine."""
    if split == "validation":
        raise ConfigError(
            f"{file} has train and test pairs only: for validation pairs make a folder with "
            "train.csv, validation.csv and test.csv"
        )
    pairs = list(read_pairs(file).pairs)
    if len(pairs) < 2:
        raise DataError(f"{file} holds one pair: at least two are needed, one of them for test")
    for row, pair in enumerate(pairs):
        if (first := pairs.index(pair)) < row:
            raise DataError(
                f"{file}: rows {first} and {row}, from 0, are the same pair, which could be a "
                "train pair and a test pair; remove one of them"
            )
    random.Random(0).shuffle(pairs)
    middle = -(-len(pairs) // 2)
    return pairs[:middle] if split == "train" else pairs[middle:]


def _file_of_split(name: str, split: str) -> Path:
    folder = user_path(name)
    if not folder.is_dir():
        raise ConfigError(
            f"no folder {name!r}: a task of your own is a file of pairs ({', '.join(READERS)}), or "
            "a folder with train.csv and test.csv"
        )
    found = [file for suffix in READERS if (file := folder / f"{split}{suffix}").is_file()]
    if len(found) != 1:
        what = "several files" if found else "no file"
        choices = ", ".join(f"{split}{suffix}" for suffix in READERS)
        raise ConfigError(f"{name} has {what} for the split {split!r}; expected one of {choices}")
    return found[0]


def _check_disjoint(file: Path, pairs: list[PromptPair], train: Path) -> None:
    seen = set(read_pairs(train).pairs)
    shared = [number for number, pair in enumerate(pairs) if pair in seen]
    if shared:
        raise DataError(
            f"{file}: {len(shared)} of {len(pairs)} pairs are also in {train.name} (the first "
            f"in row {shared[0]}, from 0), so results on them would not be for unseen pairs; "
            "remove them from one of the two files"
        )
