"""Prompt pairs, tasks and metrics."""

from dfa_tl.tasks.generators import BATTERY as BATTERY
from dfa_tl.tasks.mib import SOURCES
from dfa_tl.tasks.registry import GENERATORS

TASKS: tuple[str, ...] = tuple(GENERATORS)
"""Names of the generated tasks that the bundled models were trained on."""
MIB_TASKS: tuple[str, ...] = tuple(SOURCES)
"""Names of the benchmark's tasks."""
