"""A study's results as frames and tables: free functions of a `StudyResults`.

    analysis.leaderboard(results).frame
    analysis.write_tables(results, "tables")

A new table is a function here and its entry in `TABLES`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dfa_tl.analysis.break_even import break_even
from dfa_tl.analysis.effects import (
    effect_by_choice,
    levels,
    overall,
    source_effect,
    unbounded_tasks,
)
from dfa_tl.analysis.render import Table, write_frame
from dfa_tl.analysis.tables import (
    control_levels,
    cross_task,
    leaderboard,
    recovery,
    sensitivity,
    structure,
)
from dfa_tl.analysis.timings import timings, wall_time
from dfa_tl.arguments import checked_arguments
from dfa_tl.io.atomic import user_path
from dfa_tl.study.results import StudyResults

__all__ = [
    "TABLES",
    "Table",
    "all_tables",
    "break_even",
    "control_levels",
    "cross_task",
    "effect_by_choice",
    "leaderboard",
    "levels",
    "overall",
    "recovery",
    "sensitivity",
    "source_effect",
    "structure",
    "timings",
    "unbounded_tasks",
    "wall_time",
    "write_tables",
]

TABLES: dict[str, Callable[..., Table]] = {
    "levels": levels,
    "leaderboard": leaderboard,
    "control_levels": control_levels,
    "overall": overall,
    "source_effect": source_effect,
    "effect_by_choice": effect_by_choice,
    "recovery": recovery,
    "cross_task": cross_task,
    "sensitivity": sensitivity,
    "structure": structure,
    "break_even": break_even,
}
"""The function of each table, by name, in the order in which reports show them."""


@checked_arguments
def all_tables(results: StudyResults) -> dict[str, Table]:
    """Every table that a study has rows for, by name."""
    found = {name: build(results) for name, build in TABLES.items()}
    return {name: table for name, table in found.items() if len(table.frame)}


@checked_arguments
def write_tables(results: StudyResults, folder: str | Path) -> list[Path]:
    """Write every table as .csv, .md and .tex, and the tidy table as `results.csv`."""
    out = user_path(folder)
    written = [
        path for name, table in all_tables(results).items() for path in table.write(out, name)
    ]
    return [*written, write_frame(results.frame(), out / "results.csv")]
