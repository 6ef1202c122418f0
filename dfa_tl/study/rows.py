"""The rows of an `EvaluateJob`, checked when they are read.

A study's folder may come from anywhere, and a checksum proves only that a file was not changed, not
that its content makes sense. So each row must have the columns that `EvaluateJob` writes, with
values of the right kinds, and belong to one of the job's circuits in one of its views; no row may
appear twice, and none may be missing.

JSON has no infinity and no NaN: an infinite limit of an interval and an unknown cost are null in
the file. `checked_rows` restores them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from dfa_tl.display import shortened, shown
from dfa_tl.errors import FileFormatError
from dfa_tl.io.strict_json import parse_json
from dfa_tl.study.cost import COLUMNS
from dfa_tl.study.evaluate_job import OVERLAPS, EvaluateJob

KEYS = (
    "pair method regime variant train_tasks test_task seed draw pairs protocol ranking metric grid"
).split()
"""The columns that identify a row, in the order in which rows are sorted."""


class _Kind(NamedTuple):
    """What a column holds: a test of a value, and a description for messages."""

    fits: Callable[[Any], bool]
    description: str


def _number(value: object) -> bool:
    """Whether `value` is a number that a column of a table can hold."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return whole or isinstance(value, float)


def _finite(value: Any) -> bool:
    return _number(value) and abs(value) < math.inf  # False for NaN


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
"""The measured columns: all but those that identify a row."""
NULL_MEANS: dict[str, float] = {
    **dict.fromkeys((*COLUMNS, "pairs_used"), math.nan),
    **dict.fromkeys(("cpr_low", "cmd_low"), -math.inf),
    **dict.fromkeys(("cpr_high", "cmd_high"), math.inf),
}
"""What null stands for in a column; in the others it is None."""


def checked_rows(content: bytes | str, job: EvaluateJob) -> list[dict[str, Any]]:
    """The rows of a job.

    Args:
        content: Of `rows.json`.
        job: The job.

    Raises:
        FileFormatError: they are not such as the job writes.
    """
    rows = parse_json(content, f"rows.json of {job}")
    try:
        _check(rows, job)
    except FileFormatError as error:
        raise FileFormatError(
            f"rows.json of {job} was altered, or not written by dfa_tl: {error}. Remove the folder "
            "of this job and run the study again; the other results are kept"
        ) from error
    return [
        row | {name: value for name, value in NULL_MEANS.items() if row[name] is None}
        for row in rows
    ]


def _check(rows: object, job: EvaluateJob) -> None:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FileFormatError("it must be a list of rows, each a dictionary")
    allowed, required = _expected(job)
    seen: set[tuple[Any, ...]] = set()
    for number, row in enumerate(rows):
        at = f"row {number}"
        if missing := [name for name in (*KEYS, *MEASURED) if name not in row]:
            raise FileFormatError(f"{at} lacks {', '.join(missing)}")
        if unknown := sorted(set(row).difference(KEYS, MEASURED)):
            raise FileFormatError(f"{at} has unknown columns, first {shown(unknown[0])}")
        for name, kind in MEASURED.items():
            if not kind.fits(row[name]):
                raise FileFormatError(
                    f"{at}: {name} must be {kind.description}, got {shown(row[name])}"
                )
        for name in ("cpr", "cmd"):
            low, high = row[f"{name}_low"], row[f"{name}_high"]
            if low is not None and high is not None and low > high:
                raise FileFormatError(f"{at}: {name}_low is above {name}_high")
        identity = tuple(row[name] for name in KEYS)
        # Types too: True equals 1 and 0.0 equals 0 in Python, but not in a table.
        if any(isinstance(value, (bool, float, list, dict)) for value in identity):
            raise FileFormatError(f"{at}: {', '.join(KEYS)} must be texts and whole numbers")
        if identity not in allowed:
            raise FileFormatError(
                f"{at} belongs to no circuit and view of this job: {_listed(identity)}"
            )
        if identity in seen:
            raise FileFormatError(f"{at} appears twice: {_listed(identity)}")
        seen.add(identity)
    if missing := [identity for identity in required if identity not in seen]:
        raise FileFormatError(f"there is no row for {_listed(missing[0])}")


def _listed(identity: tuple[Any, ...]) -> str:
    return shortened(", ".join(map(str, identity)), 200)


def _expected(job: EvaluateJob) -> tuple[set[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """What identifies the rows that a job may have, and those that it must have.

    A metric other than the first that is undefined for a circuit has no rows.
    """
    allowed: set[tuple[Any, ...]] = set()
    required: list[tuple[Any, ...]] = []
    for circuit in job.circuits:
        columns = job.columns(circuit.key)
        for view in job.views if circuit.all_views else job.views[:1]:
            for grid in job.grids:
                identity = tuple((columns | view._asdict() | {"grid": grid})[key] for key in KEYS)
                allowed.add(identity)
                if view.metric == job.views[0].metric:
                    required.append(identity)
    return allowed, required
