"""Tasks by name: one `Task` record for each that is generated.

A new one is a generator and a record here, or one that `register_task` is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.registry import Registry
from dfa_tl.tasks.generators import BATTERY, arc, arithmetic, ioi, mcqa
from dfa_tl.tasks.generators.generate import Draw, generate
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.sources.folder import is_folder, load_folder
from dfa_tl.tasks.sources.mib import SOURCES, load_mib


@dataclass(frozen=True, kw_only=True)
class Task:
    """A generated task.

    Attributes:
        name: What `load_task` calls it.
        family: Tasks of a family share their mechanism.
        draw: Draws one pair; see `dfa_tl.tasks.generators.generate`.
        description: What the prompt asks.
        reference: Where the literature has it from.
        related: The tasks that near-distribution trains on for it.
    """

    name: str
    family: str
    draw: Draw
    description: str
    reference: str
    related: tuple[str, ...] = ()


TASKS: Registry[Task] = Registry(
    "task",
    (
        Task(
            name="ioi",
            family="ioi",
            draw=ioi.draw,
            description="which of two names receives the object",
            reference="Wang et al. 2023, arXiv 2211.00593",
        ),
        Task(
            name="mcqa",
            family="multiple-choice",
            draw=mcqa.draw,
            description="the letter of the choice that the prompt itself states",
            reference="Wiegreffe et al. 2025, arXiv 2407.15018",
        ),
        Task(
            name="arithmetic_addition",
            family="arithmetic",
            draw=arithmetic.draw_addition,
            description="the sum of two numbers",
            reference="Stolfo et al. 2023, arXiv 2305.15054",
            related=("arithmetic_subtraction",),
        ),
        Task(
            name="arithmetic_subtraction",
            family="arithmetic",
            draw=arithmetic.draw_subtraction,
            description="the difference of two numbers",
            reference="Stolfo et al. 2023, arXiv 2305.15054",
            related=("arithmetic_addition",),
        ),
        Task(
            name="arc_easy",
            family="multiple-choice",
            draw=arc.draw_easy,
            description="the letter of the choice that one known fact gives",
            reference="after Clark et al. 2018, arXiv 1803.05457",
            related=("arc_challenge",),
        ),
        Task(
            name="arc_challenge",
            family="multiple-choice",
            draw=arc.draw_challenge,
            description="the letter of the choice that two known facts together give",
            reference="after Clark et al. 2018, arXiv 1803.05457",
            related=("arc_easy",),
        ),
    ),
)
WORDS: frozenset[str] = frozenset(ioi.WORDS | mcqa.WORDS | arithmetic.WORDS | arc.WORDS)
"""Every word that a generated prompt or answer can contain."""

DEFAULT_SIZE = 100
MIB = "mib/"
"""What the names of the benchmark's tasks begin with; the rest is that of a generated task."""


@checked_arguments
def register_task(task: Task) -> Task:
    """Make a generated task known to `load_task` and to studies, in this process.

    Raises:
        ConfigError: there is a task of this name.
    """
    return TASKS.register(task)


def family_of(name: str) -> str:
    """The family of a task; the benchmark's are those of the generated ones.

    A folder of pairs is a family of its own.
    """
    plain = name.removeprefix(MIB)
    task = TASKS.get(plain) or BATTERY.get(plain)
    return name if task is None else task.family


def relations() -> dict[str, tuple[str, ...]]:
    """For each task that has any: the tasks that near-distribution trains on."""
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
        name: `ioi`, `mcqa`, `arithmetic_addition`, `arithmetic_subtraction`, `arc_easy` or
            `arc_challenge`, generated from the words that the bundled models know; or one of these
            after `mib/`: the benchmark's data, see `dfa_tl.tasks.sources.mib`; or a task in natural
            English of `dfa_tl.tasks.generators`, of which a model takes the pairs that its
            tokenizer leaves usable; or the path, with a slash, of a folder with `train.csv` and
            `test.csv`, see `dfa_tl.tasks.sources.folder`.
        split: `train`, `validation` or `test`; no generated problem is in two of them, and no
            pair of a folder in `train` and another.
        n: How many pairs. By default 100 of a generated task, and all of another's split: there,
            the first `n` that the model's tokenizer leaves usable.
        seed: Which sample of the split; the same on every machine. The pairs of a benchmark or a
            folder are in their own order with seed 0, and shuffled with another.
        path: For a benchmark task, a folder with a copy of its data set; None fetches it from the
            Hugging Face hub.

    Raises:
        ConfigError: unknown task or split, no such folder, `n` below 1, or a path with a task
            that is not the benchmark's.
        FileFormatError: a file of a folder that cannot be read.
        DataError: the split does not hold `n` distinct pairs, shares some with the train split of
            its folder, or a benchmark's data set cannot be loaded.

    Example:
        >>> data = load_task("arithmetic_addition", n=2)
        >>> pair = data.pairs[0]
        >>> pair.clean, pair.answer, pair.corrupt, pair.wrong_answer
        ('16 + 14 =', ' 30', '3 + 11 =', ' 14')
    """
    if name.startswith(MIB):
        return load_mib(name, split=split, n=n, seed=seed, path=path)
    if path is not None:
        raise ConfigError(f"path={str(path)!r}: only the benchmark's tasks take one, not {name!r}")
    if is_folder(name):
        return load_folder(name, split=split, n=n, seed=seed)
    check_task(name)
    size = DEFAULT_SIZE if n is None else n
    draw = BATTERY[name].draw if name in BATTERY else TASKS[name].draw
    pairs = generate(draw, size, name=name, split=split, seed=seed)
    # The toys' tokenizer has every word; in another's, a word may be several tokens.
    on_invalid = "drop" if name in BATTERY else "raise"
    return PairDataset(tuple(pairs), name=name, on_invalid=on_invalid)


def check_task(name: str) -> None:
    """Raise `ConfigError` unless a task is known, or the path of a folder, which need not exist."""
    known = [*TASKS, *SOURCES, *BATTERY]
    if name not in known and not is_folder(name):
        raise ConfigError(
            f"unknown task {name!r}: choose one of {', '.join(known)}, or the "
            "path of a folder with train.csv and test.csv, written with a slash (./my_task)"
        )
