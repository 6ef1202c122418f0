"""Prompt pairs, generated tasks and metrics."""

from dfa_tl.tasks.registry import GENERATORS

TASKS: tuple[str, ...] = tuple(GENERATORS)
"""Names of the generated tasks."""
