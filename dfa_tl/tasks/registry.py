"""Tasks by name: those that are generated, the benchmark's, and files of your own.

A generated task is a `Task` record in a file of `dfa_tl.tasks.generators`, or one that you register
with `register_task`.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.tasks.generators import TASKS, TOY_TASKS
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.sources.mib import SOURCES, load_mib
from dfa_tl.tasks.sources.own_files import is_path, load_own
from dfa_tl.tasks.task import Task, generate_pairs

WORDS: frozenset[str] = frozenset().union(*(TASKS[name].words for name in TOY_TASKS))
"""Every word of the toy tasks: the vocabulary of the bundled models."""

DEFAULT_SIZE = 100
MIB = "mib/"
"""The prefix of the benchmark's tasks; what follows is the name of a generated task."""
ENGLISH_TASKS = (
    "ioi_english",
    "sva_simple",
    "gender_pronoun",
    "country_capital",
    "antonyms",
    "plural",
    "months",
    "acronyms",
)
"""One task of each of eight families, with short prompts, that small pretrained models can do."""


@checked_arguments
def register_task(task: Task) -> Task:
    """Make a generated task known to `load_task` and to studies, in this process.

    Raises:
        ConfigError: there is already a task of this name.
    """
    return TASKS.register(task)


def family_of(name: str) -> str:
    """The family of a task; a benchmark task has that of the generated task of its name.

    A file or folder of pairs is a family of its own.
    """
    task = TASKS.get(name.removeprefix(MIB))
    return name if task is None else task.family


def training_tasks(task: str, *, toy: bool = False) -> tuple[str, ...]:
    """The tasks that W is trained on by default, to carry over the circuit of another task.

    They are of other families, so that the transfer is zero-shot: the benchmark's for one of its
    tasks, those of the bundled models for one of theirs, and `ENGLISH_TASKS` for any other. A task
    of your own is a family of its own, whatever its mechanism is.

    Args:
        task: The task whose circuit is carried over.
        toy: Whether the models are the bundled ones, which know only the words of the toy tasks.
    """
    if task.startswith(MIB):
        tasks = tuple(SOURCES)
    else:
        tasks = TOY_TASKS if toy or task in TOY_TASKS else ENGLISH_TASKS
    return tuple(name for name in tasks if family_of(name) != family_of(task))


def relations() -> dict[str, tuple[str, ...]]:
    """The tasks that the near-distribution regime trains on, for each task that has any."""
    return {
        f"{prefix}{task.name}": tuple(f"{prefix}{other}" for other in task.related)
        for prefix in ("", MIB)
        for task in TASKS.values()
        if task.related and (not prefix or f"{prefix}{task.name}" in SOURCES)
    }


@checked_arguments
def load_task(
    name: str,
    *,
    split: str = "train",
    n: int | None = None,
    seed: int = 0,
    path: str | Path | None = None,
) -> PairDataset:
    """Pairs of a generated task, of the Mechanistic Interpretability Benchmark, or of your own.

    Args:
        name: One of

            - a generated task of `TASKS`: `ioi`, `mcqa`, `arithmetic_addition`,
              `arithmetic_subtraction`, `arc_easy` or `arc_challenge` in the words that the bundled
              models know, or a task in natural English. A model leaves out the pairs in natural
              English that its tokenizer makes unusable;
            - one of these six after `mib/`, for the benchmark's data
              (`dfa_tl.tasks.sources.mib`);
            - the path of a file of pairs, `pairs.csv`, one half of which is for training and the
              other for test; or the path, with a slash, of a folder with `train.csv` and
              `test.csv` (`dfa_tl.tasks.sources.own_files`).
        split: `train`, `validation` or `test`. No generated problem is in two splits, and no pair
            of yours is in `train` and in another split.
        n: How many pairs. The default is 100 for a generated task, and the whole split otherwise.
            From the benchmark or a file come the first `n` that the model's tokenizer can use.
        seed: Which sample of the split, the same on every machine. Pairs of the benchmark or a
            folder keep their order with seed 0, and are shuffled with any other.
        path: For a benchmark task, a folder with a copy of its data set; None fetches it from the
            Hugging Face hub.

    Raises:
        ConfigError: the task, split or folder does not exist, `n` is below 1, or `path` is given
            for a task that is not the benchmark's.
        FileFormatError: a file cannot be read.
        DataError: the split does not hold `n` distinct pairs, or shares pairs with the train split
            of its folder, or a file of both splits holds a pair twice, or a data set of the
            benchmark cannot be loaded.

    Example:
        >>> data = load_task("arithmetic_addition", n=2)
        >>> pair = data.pairs[0]
        >>> pair.clean, pair.answer, pair.corrupt, pair.wrong_answer
        ('16 + 14 =', ' 30', '3 + 11 =', ' 14')
    """
    if name.startswith(MIB):
        return load_mib(name, split=split, n=n, seed=seed, path=path)
    if path is not None:
        raise ConfigError(
            f"path={str(path)!r}: only the benchmark's tasks take a path, not {name!r}"
        )
    if is_path(name):
        return load_own(name, split=split, n=n, seed=seed)
    check_task(name)
    task = TASKS[name]
    pairs = generate_pairs(task, DEFAULT_SIZE if n is None else n, split=split, seed=seed)
    # The bundled tokenizer has every word of a toy task; elsewhere a word may be several tokens.
    on_invalid = "raise" if task.is_toy else "drop"
    return PairDataset(tuple(pairs), name=name, on_invalid=on_invalid)


def check_task(name: str) -> None:
    """Raise `ConfigError` unless `name` is a task or a path of pairs, which need not exist."""
    if name in TASKS or name in SOURCES or is_path(name):
        return
    alike = difflib.get_close_matches(name, [*TASKS, *SOURCES], n=1)
    raise ConfigError(
        f"unknown task {name!r}: {f'did you mean {alike[0]!r}? ' if alike else ''}`dfa-tl tasks` "
        "lists the built-in tasks; your own is the path of a file (pairs.csv) or, with a "
        "slash, of a folder with train.csv and test.csv (./my_task)"
    )
