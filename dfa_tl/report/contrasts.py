"""`Contrast`: a regime minus gold or a control, with intervals over families, seeds and pairs.

There is a verdict only with several seeds: a single one says nothing about the next. A verdict
looks at CPR and at CMD, because f above 1 raises CPR without being closer to the whole model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd

from dfa_tl.controls.regimes import Regime
from dfa_tl.controls.registry import CONTROLS
from dfa_tl.evaluation.intervals import Interval
from dfa_tl.report.wording import listed, with_limits
from dfa_tl.study.config import StudyConfig

Verdict = Literal[
    "better", "better by one measure", "not shown", "CPR and CMD disagree", "worse", "no verdict"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Contrast:
    """A regime minus gold or a control, mean over tasks.

    Attributes:
        against: What it is compared with.
        cpr, cmd: CPR and CMD of the regime minus those of the other.
        n_tasks, n_families, n_seeds: How many the mean is over.
        better, worse: Tasks whose interval excludes zero and whose p-value, adjusted by Holm, is
            significant at the study's level, by the sign of the difference. None with one seed.
        unclear: The other tasks.
    """

    against: str
    cpr: Interval
    cmd: Interval
    n_tasks: int
    n_families: int
    n_seeds: int
    better: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()

    @property
    def ahead(self) -> tuple[str, ...]:
        """The measures that the regime is clearly better by: `CPR` above zero, `CMD` below it."""
        clear = {"CPR": self.cpr.low > 0, "CMD": self.cmd.high < 0}
        return tuple(name for name, is_clear in clear.items() if is_clear)

    @property
    def behind(self) -> tuple[str, ...]:
        """The measures that the regime is clearly worse by."""
        clear = {"CPR": self.cpr.high < 0, "CMD": self.cmd.low > 0}
        return tuple(name for name, is_clear in clear.items() if is_clear)

    @property
    def verdict(self) -> Verdict:
        """Better needs both measures; worse needs one, if the other does not say the opposite."""
        if self.n_seeds < 2:
            return "no verdict"
        if self.ahead and self.behind:
            return "CPR and CMD disagree"
        if self.behind:
            return "worse"
        return ("not shown", "better by one measure", "better")[len(self.ahead)]

    @property
    def by(self) -> str:
        """Both differences with their intervals: `CPR +0.20 [+0.02, +0.34], CMD ...`."""
        return f"CPR {with_limits(self.cpr, sign=True)}, CMD {with_limits(self.cmd, sign=True)}"

    @property
    def resampled(self) -> str:
        """What its interval resamples: `3 families, 2 seeds and the test pairs`."""
        counts = (("families", self.n_families), ("seeds", self.n_seeds))
        parts = [f"{n} {name}" for name, n in counts if n > 1]
        return listed([*parts, "the test pairs"])


@dataclass(frozen=True)
class Level:
    """CPR and CMD of a circuit, mean over tasks.

    Attributes:
        name: `gold`, the regime, or a control's name.
        label: How the report calls it.
        cpr, cmd: CPR and CMD.
        n_tasks: How many tasks the mean is over.
        floor: CPR of a circuit that recovers nothing before all nodes are kept.
    """

    name: str
    label: str
    cpr: Interval
    cmd: Interval
    n_tasks: int
    floor: float


def levels_of(
    tables: Mapping[str, pd.DataFrame], config: StudyConfig, pair: str, method: str
) -> dict[str, Level]:
    """The levels of a pair and method under the first settings, by name; lowest CPR first."""
    rows = rows_of(tables.get("levels"), config, pair, method)
    found = [
        Level(
            str(row["circuit"]),
            _label(str(row["circuit"])),
            cpr=_interval(row, "CPR", "low", "high", config),
            cmd=_interval(row, "CMD", "CMD low", "CMD high", config),
            n_tasks=int(row["tasks"]),
            floor=float(row["floor"]),
        )
        for row in rows
    ]
    return {one.name: one for one in sorted(found, key=lambda one: one.cpr.estimate)}


def _interval(
    row: Mapping[str, Any], estimate: str, low: str, high: str, config: StudyConfig
) -> Interval:
    return Interval(float(row[estimate]), float(row[low]), float(row[high]), config.level)


def _label(name: str) -> str:
    if name in CONTROLS:
        return CONTROLS[name].label
    return f"transferred ({name})" if name in tuple(Regime) else name


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
            cpr=_interval(row, "difference", "low", "high", config),
            cmd=_interval(row, "CMD difference", "CMD low", "CMD high", config),
            n_tasks=int(row["tasks"]),
            n_families=int(row["families"]),
            n_seeds=int(row["seeds"]),
            **_by_task(effect if row["seeds"] > 1 else [], 1 - config.level),
        )
    return found


def _by_task(effect: Sequence[Mapping[str, Any]], alpha: float) -> dict[str, tuple[str, ...]]:
    significant = [one for one in effect if one["p (Holm)"] <= alpha]
    better = tuple(one["task"] for one in significant if one["low"] > 0)
    worse = tuple(one["task"] for one in significant if one["high"] < 0)
    clear = {*better, *worse}
    unclear = tuple(one["task"] for one in effect if one["task"] not in clear)
    return {"better": better, "worse": worse, "unclear": unclear}


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
