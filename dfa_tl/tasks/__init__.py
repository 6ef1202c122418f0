"""Prompt pairs, tasks and metrics."""

from dfa_tl.tasks.generators import BATTERY as BATTERY
from dfa_tl.tasks.registry import TASKS
from dfa_tl.tasks.sources.mib import SOURCES

MIB_TASKS: tuple[str, ...] = tuple(SOURCES)
"""Names of the benchmark's tasks."""

__all__ = ["BATTERY", "MIB_TASKS", "TASKS"]
