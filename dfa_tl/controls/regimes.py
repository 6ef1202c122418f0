"""`Regime`: what W is trained on before it carries over the circuit of a test task.

Zero-shot trains on no task of the test task's family: a W that saw addition has seen the mechanism
of subtraction. Leave-task-out, which other work often calls zero-shot, leaves out only the test
task.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from dfa_tl.tasks.registry import family_of

GOLD = "gold"
"""Name in tables of the circuit that is attributed on the target itself."""
FEW_PAIRS = "few-pairs"
"""Name in tables of gold circuits that are attributed on fewer pairs."""


class Style(NamedTuple):
    """How a circuit looks in figures: colour, dash of lines, marker of points, pattern of bars."""

    color: str
    dash: str = "solid"
    marker: str = "circle"
    pattern: str = ""

    def faint(self, opacity: float) -> str:
        """The colour with an opacity below 1."""
        red, green, blue = (int(self.color[start : start + 2], 16) for start in (1, 3, 5))
        return f"rgba({red},{green},{blue},{opacity:g})"


GOLD_STYLE = Style("#000000")
PLAIN = Style("#6B6B6B")
"""The style of a circuit without one of its own."""


class Regime(str, Enum):
    """The regimes. A member equals its name as a string.

    Attributes:
        label: Name in tables and figures of circuits of this regime.
        trained_on: What W is trained on.
        style: How its circuits look in figures.
    """

    label: str
    trained_on: str
    style: Style

    def __new__(cls, name: str, label: str, trained_on: str, style: Style) -> Regime:
        """Make a member that is a string."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.label, member.trained_on, member.style = label, trained_on, style
        return member

    def __str__(self) -> str:
        return self.value

    IN_DISTRIBUTION = (
        "in-distribution",
        "DFA (in-distribution)",
        "the test task",
        Style("#0072B2", "solid", "square"),
    )
    NEAR_DISTRIBUTION = (
        "near-distribution",
        "DFA (near-distribution)",
        "tasks related to the test task",
        Style("#009E73", "dashdot", "triangle-up", "/"),
    )
    ZERO_SHOT = (
        "zero-shot",
        "DFA (zero-shot)",
        "the tasks of other families",
        Style("#D55E00", "dash", "diamond", "x"),
    )
    LEAVE_TASK_OUT = (
        "leave-task-out",
        "DFA (leave-task-out)",
        "every task except the test task, including others of its family",
        Style("#B8860B", "longdashdot", "triangle-right", "\\"),
    )
    ALL = (
        "all",
        "DFA (all tasks)",
        "every task, including the test task",
        Style("#CC79A7", "dot", "x", "."),
    )
    CROSS_TASK = (
        "cross-task",
        "DFA (cross-task)",
        "one task at a time",
        PLAIN,
    )

    def train_tasks(
        self, task: str, tasks: tuple[str, ...], related: Mapping[str, tuple[str, ...]]
    ) -> list[tuple[str, ...]]:
        """The tasks that each W of a test task is trained on; empty if there is no such W.

        Args:
            task: The test task.
            tasks: All tasks of the study.
            related: For each task, those that are related to it.
        """
        sets = {
            Regime.IN_DISTRIBUTION: [(task,)],
            Regime.NEAR_DISTRIBUTION: [related.get(task, ())],
            Regime.ZERO_SHOT: [
                tuple(other for other in tasks if family_of(other) != family_of(task))
            ],
            Regime.LEAVE_TASK_OUT: [tuple(other for other in tasks if other != task)],
            Regime.ALL: [tasks],
            Regime.CROSS_TASK: [(other,) for other in tasks],
        }
        return [each for each in sets[self] if each]


COMPARED = tuple(regime for regime in Regime if regime is not Regime.CROSS_TASK)
"""The regimes with one W per test task, which are compared with gold and with controls."""
