"""The generated tasks: six for the bundled models in `toys`, and natural English by family.

A file's `TASKS` holds the records of its tasks; `dfa_tl.tasks.task` draws their pairs.
"""

from __future__ import annotations

from importlib import import_module

from dfa_tl.registry import Registry
from dfa_tl.tasks.task import Task

FILES = (
    "toys ioi choices arithmetic comparison agreement pronouns geography people lexical morphology "
    "binding sequences induction acronyms docstrings brackets sentiment"
).split()
TASKS: Registry[Task] = Registry(
    "task", (task for file in FILES for task in import_module(f"{__name__}.{file}").TASKS)
)
TOY_TASKS: tuple[str, ...] = tuple(name for name, task in TASKS.items() if task.is_toy)
"""Names of the six tasks that the bundled models solve: the tasks of a study by default."""
