"""A task of your own by name: a folder with a file of pairs for each split.

    data/greater_than/train.csv
    data/greater_than/test.csv
    data/greater_than/validation.jsonl    needed only where a study chooses settings on it

The files are those of `read_pairs`; the task is named after its path, always with a slash
(`./greater_than`), so that it cannot be mistaken for a task of the package.
"""

from __future__ import annotations

import random
from pathlib import Path

from dfa_tl.errors import ConfigError, DataError
from dfa_tl.io.atomic import user_path
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.sources.tables import READERS, read_pairs
from dfa_tl.tasks.task import check_pair_count, check_split


def is_folder(name: str) -> bool:
    """Whether a task's name is the path of a folder."""
    return ("/" in name or "\\" in name) and not name.startswith("mib/")


def load_folder(name: str, *, split: str, n: int | None, seed: int) -> PairDataset:
    """Pairs of one split of a folder; the arguments are those of `load_task`.

    Raises:
        ConfigError: there is no such folder, no file or several for the split, or `n` is below 1.
        FileFormatError: a file cannot be read.
        DataError: there are fewer than `n` pairs, some are also in the train split, or `read_pairs`
            finds faults.
    """
    check_split(split)
    check_pair_count(n)
    file = _file(name, split)
    data = read_pairs(file)
    pairs = list(data.pairs)
    if n is not None and len(pairs) < n:
        raise DataError(f"{file}: {n} pairs were asked for, and it holds {len(pairs)}")
    if split != "train":
        _check_disjoint(file, data, _file(name, "train"))
    if seed:
        random.Random(f"{split}/{seed}").shuffle(pairs)
    return PairDataset(tuple(pairs), name=name, on_invalid="drop", limit=n)


def _file(name: str, split: str) -> Path:
    folder = user_path(name)
    if not folder.is_dir():
        raise ConfigError(
            f"no folder {name!r}: a task of your own is a folder with train.csv and test.csv "
            f"(or {', '.join(list(READERS)[1:])}); pairs in a single file are read by read_pairs"
        )
    found = [file for suffix in READERS if (file := folder / f"{split}{suffix}").is_file()]
    if len(found) != 1:
        what = "several files" if found else "no file"
        choices = ", ".join(f"{split}{suffix}" for suffix in READERS)
        raise ConfigError(f"{name} has {what} for the split {split!r}; expected one of {choices}")
    return found[0]


def _check_disjoint(file: Path, data: PairDataset, train: Path) -> None:
    seen = set(read_pairs(train).pairs)
    shared = [number for number, pair in enumerate(data.pairs) if pair in seen]
    if shared:
        raise DataError(
            f"{file}: {len(shared)} of {len(data.pairs)} pairs are also in {train.name} (the first "
            f"in row {shared[0]}, from 0), so results on them would not be for unseen pairs; "
            "remove them from one of the two files"
        )
