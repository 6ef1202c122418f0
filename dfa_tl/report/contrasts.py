"""`Contrast`: a regime minus gold or a control, with its intervals.

A difference has two intervals. The one over tasks is Student's t over the tasks' differences, and
applies to tasks that were not tried. The one over test pairs holds for these tasks only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dfa_tl.report.wording import signed
from dfa_tl.study.config import StudyConfig


@dataclass(frozen=True)
class Contrast:
    """A regime minus gold or a control, mean over tasks.

    Attributes:
        against: What it is compared with.
        difference: CPR of the regime minus CPR of the other.
        low, high: Limits over test pairs, for these tasks.
        tasks_low, tasks_high: Limits over tasks; None with fewer than two tasks.
        n_tasks: How many tasks the mean is over.
        better, worse: Tasks where the p-value, adjusted by Holm, is significant at the study's
            level, by the sign of the difference.
        unclear: The other tasks.
    """

    against: str
    difference: float
    low: float
    high: float
    tasks_low: float | None
    tasks_high: float | None
    n_tasks: int
    better: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()

    @property
    def limits(self) -> tuple[float, float]:
        """The interval over tasks, or over test pairs where there is only one task."""
        if self.tasks_low is None or self.tasks_high is None:
            return self.low, self.high
        return self.tasks_low, self.tasks_high

    @property
    def verdict(self) -> str:
        """`above`, `below`, or `includes zero`."""
        low, high = self.limits
        return "above" if low > 0 else "below" if high < 0 else "includes zero"

    @property
    def text(self) -> str:
        """`+0.21 [−0.03, +0.45]`."""
        low, high = self.limits
        return f"{signed(self.difference)} [{signed(low)}, {signed(high)}]"


def contrasts(
    tables: Mapping[str, pd.DataFrame],
    config: StudyConfig,
    pair: str,
    method: str,
    variant: str | None = None,
) -> dict[str, Contrast]:
    """The contrasts of a pair and method, by what the regime is compared with.

    Args:
        tables: `overall`, and `effect:NAME` for the differences by task from control NAME.
        config: The study.
        pair: Name of the pair of models.
        method: Attribution method.
        variant: Name of the alignment settings; the first by default.
    """
    found = {}
    for row in rows_of(tables.get("overall"), config, pair, method, variant):
        against = str(row["against"])
        effect = rows_of(tables.get(f"effect:{against}"), config, pair, method, variant)
        found[against] = Contrast(
            against,
            *(float(row[name]) for name in ("difference", "low", "high")),
            *(
                None if pd.isna(row[name]) else float(row[name])
                for name in ("tasks low", "tasks high")
            ),
            n_tasks=int(row["tasks"]),
            **_by_task(effect, 1 - config.level),
        )
    return found


def _by_task(effect: Sequence[Mapping[str, Any]], alpha: float) -> dict[str, tuple[str, ...]]:
    significant = [one for one in effect if one["p (Holm)"] <= alpha]
    return {
        "better": tuple(one["task"] for one in significant if one["difference"] > 0),
        "worse": tuple(one["task"] for one in significant if one["difference"] < 0),
        "unclear": tuple(one["task"] for one in effect if not one["p (Holm)"] <= alpha),
    }


def rows_of(
    frame: pd.DataFrame | None,
    config: StudyConfig,
    pair: str,
    method: str,
    variant: str | None = None,
) -> list[dict[str, Any]]:
    """Rows of a pair and method under some alignment settings, the first by default."""
    if frame is None or frame.empty:
        return []
    chosen: Any = frame[(frame["pair"] == pair) & (frame["method"] == method)]
    if "variant" in chosen:
        chosen = chosen[chosen["variant"] == (variant or config.default_variant)]
    return chosen.to_dict("records")
