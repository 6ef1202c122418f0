"""`rows.json` of an `evaluate` job, checked when it is read.

A study's folder may come from anywhere, and a checksum says that a file is as it was written, not
that what was written makes sense. So each row must have the columns that `dfa_tl.study.measurement`
writes, with values of their kinds; it must be of one of the job's circuits in one of its views;
none may be there twice, and none that must be there may be missing.

JSON has no infinity and no NaN: a limit of an interval that is infinite, and a cost that is not
known, stand as null in the file. `checked_rows` gives them back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from dfa_tl.display import shortened, shown
from dfa_tl.errors import FileFormatError
from dfa_tl.io.strict_json import parse_json
from dfa_tl.study.circuits import EvaluateJob
from dfa_tl.study.cost import COLUMNS
from dfa_tl.study.measurement import OVERLAPS, View, headline, identity, views


class _Kind(NamedTuple):
    """What a column holds: a test of a value, and what the message says."""

    fits: Callable[[Any], bool]
    words: str


def _number(value: object) -> bool:
    """Whether `value` is a number that a column of a table can hold."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return whole or isinstance(value, float)


def _finite(value: Any) -> bool:
    return _number(value) and abs(value) < math.inf  # not so of nan


FINITE = _Kind(_finite, "a finite number")
OPTIONAL = _Kind(lambda value: value is None or _finite(value), "a finite number or null")
COST = _Kind(
    lambda value: value is None or (_finite(value) and value >= 0), "a number from 0, or null"
)
SIZE = _Kind(
    lambda value: _number(value) and isinstance(value, int) and value >= 1, "a whole number from 1"
)
MEASURED: dict[str, _Kind] = {
    **dict.fromkeys(("pearson", "spearman", *(f"overlap_{k}" for k in OVERLAPS)), OPTIONAL),
    **dict.fromkeys(("profile_pearson", "profile_spearman"), OPTIONAL),
    **dict.fromkeys(COLUMNS, COST),
    "pairs_used": COST,
    **dict.fromkeys(("cpr", "cmd", "floor", "m_clean", "m_corrupt"), FINITE),
    **dict.fromkeys(("cpr_low", "cpr_high", "cmd_low", "cmd_high"), OPTIONAL),
    "n": SIZE,
}
"""Columns beside those that say which circuit, view and grid a row is of."""
UNSAID: dict[str, float] = {
    **dict.fromkeys((*COLUMNS, "pairs_used"), math.nan),
    **dict.fromkeys(("cpr_low", "cmd_low"), -math.inf),
    **dict.fromkeys(("cpr_high", "cmd_high"), math.inf),
}
"""What null stands for in a column; in the others it is None."""

Place = tuple[Any, ...]
"""Which circuit, view and grid a row is of, as values in the order of their columns."""


def checked_rows(content: str | bytes, job: EvaluateJob) -> list[dict[str, Any]]:
    """The rows of a job.

    Args:
        content: What its `rows.json` holds.
        job: The job.

    Raises:
        FileFormatError: rows that are not those of the job, or with values of another kind; the
            message names the first.
    """
    rows = parse_json(content, f"rows.json of {job}")
    try:
        _check(rows, job)
    except FileFormatError as error:
        raise FileFormatError(
            f"rows.json of {job} was altered, or not written by dfa_tl: {error}. Remove the folder "
            "of this job and run the study again; what else is there is kept"
        ) from error
    return [
        row | {name: value for name, value in UNSAID.items() if row[name] is None} for row in rows
    ]


def _check(rows: object, job: EvaluateJob) -> None:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FileFormatError("it must be a list of rows, each a dictionary")
    places, needed = _places(job)
    names = [*identity(job, job.circuits[0]), *View._fields, "grid"]
    seen: set[Place] = set()
    for number, row in enumerate(rows):
        at = f"row {number}"
        if missing := [name for name in (*names, *MEASURED) if name not in row]:
            raise FileFormatError(f"{at} lacks {', '.join(missing)}")
        if unknown := sorted(set(row).difference(names, MEASURED)):
            raise FileFormatError(f"{at} has unknown columns, first {shown(unknown[0])}")
        for name, kind in MEASURED.items():
            if not kind.fits(row[name]):
                raise FileFormatError(f"{at}: {name} must be {kind.words}, got {shown(row[name])}")
        for what in ("cpr", "cmd"):
            low, high = row[f"{what}_low"], row[f"{what}_high"]
            if low is not None and high is not None and low > high:
                raise FileFormatError(f"{at}: {what}_low is above {what}_high")
        place = tuple(row[name] for name in names)
        # Types too: True is 1 and 0.0 is 0 to Python, but not in a table.
        if any(isinstance(value, (bool, float, list, dict)) for value in place):
            raise FileFormatError(f"{at}: {', '.join(names)} must be texts and whole numbers")
        if place not in places:
            raise FileFormatError(f"{at} is of no circuit and view of this job: {_said(place)}")
        if place in seen:
            raise FileFormatError(f"{at} is there twice: {_said(place)}")
        seen.add(place)
    if lacking := [place for place in needed if place not in seen]:
        raise FileFormatError(f"no row of {_said(lacking[0])}")


def _said(place: Place) -> str:
    return shortened(", ".join(map(str, place)), 200)


def _places(job: EvaluateJob) -> tuple[set[Place], list[Place]]:
    """Where the rows of a job may be, and where there must be one.

    A metric other than the first that is undefined for a circuit has no rows.
    """
    settings = job.settings
    first = headline(settings)
    may: set[Place] = set()
    must: list[Place] = []
    for circuit in job.circuits:
        of_circuit = tuple(identity(job, circuit).values())
        for view in views(settings) if circuit.all_views else [first]:
            there = [(*of_circuit, *view, grid) for grid in settings["grids"]]
            may.update(there)
            must += there if view.metric == first.metric else []
    return may, must
