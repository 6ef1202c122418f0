"""Prompt pairs, tasks and metrics."""

from dfa_tl.tasks.generators import TASKS, TOY_TASKS
from dfa_tl.tasks.sources.mib import SOURCES

MIB_TASKS: tuple[str, ...] = tuple(SOURCES)
"""Names of the benchmark's tasks."""

__all__ = ["MIB_TASKS", "TASKS", "TOY_TASKS"]
