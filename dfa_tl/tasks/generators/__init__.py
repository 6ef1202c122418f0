"""The generated tasks: six for the bundled models in `toys`, and natural English by family.

A file's `TASKS` holds the records of its tasks; `dfa_tl.tasks.task` draws their pairs.
"""

from __future__ import annotations

from dfa_tl.registry import Registry
from dfa_tl.tasks.generators import (
    acronyms,
    agreement,
    arithmetic,
    binding,
    brackets,
    choices,
    comparison,
    docstrings,
    geography,
    induction,
    ioi,
    lexical,
    morphology,
    people,
    pronouns,
    sentiment,
    sequences,
    toys,
)
from dfa_tl.tasks.task import Task

_FAMILIES = (
    toys,
    ioi,
    choices,
    arithmetic,
    comparison,
    agreement,
    pronouns,
    geography,
    people,
    lexical,
    morphology,
    binding,
    sequences,
    induction,
    acronyms,
    docstrings,
    brackets,
    sentiment,
)
TASKS: Registry[Task] = Registry("task", (task for file in _FAMILIES for task in file.TASKS))
TOY_TASKS: tuple[str, ...] = tuple(name for name, task in TASKS.items() if task.is_toy)
"""Names of the six tasks that the bundled models solve: the tasks of a study by default."""
