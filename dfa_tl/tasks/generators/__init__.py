"""The task battery: generated tasks in natural English, for pretrained models.

Each file holds the tasks of one family; `dfa_tl.tasks.generators.generate` draws their pairs.
"""

from __future__ import annotations

from dfa_tl.tasks.generators import (
    acronyms,
    agreement,
    arithmetic_english,
    binding,
    brackets,
    choices_english,
    comparison,
    docstrings,
    geography,
    induction,
    ioi_english,
    lexical,
    morphology,
    people,
    pronouns,
    sentiment,
    sequences,
)
from dfa_tl.tasks.generators.record import BatteryTask

_MODULES = (
    ioi_english,
    choices_english,
    arithmetic_english,
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
BATTERY: dict[str, BatteryTask] = {task.name: task for module in _MODULES for task in module.TASKS}
"""The tasks of the battery by name."""
