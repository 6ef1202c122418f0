"""`CircuitKey`, which circuit was measured, and `View`, how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

Value = TypeVar("Value")


class View(NamedTuple):
    """One way of measuring."""

    protocol: str
    ranking: str
    metric: str


@dataclass(frozen=True, order=True)
class CircuitKey:
    """Which circuit, among those of one pair of models, test task, method and seed.

    Attributes:
        name: `gold`, a regime, `few-pairs`, or a control's name for a regime.
        variant: Name of the alignment settings; empty where none apply.
        train_tasks: Tasks that W, or the control, was fitted to.
        pairs: Pairs per task that scores were attributed on.
        draw: Number of the random draw.
    """

    name: str
    variant: str = ""
    train_tasks: tuple[str, ...] = ()
    pairs: int = 0
    draw: int = 0

    def __str__(self) -> str:
        tasks = f"fitted to {' + '.join(self.train_tasks)}" if self.train_tasks else ""
        details = (self.variant, tasks, f"{self.pairs} pairs", f"draw {self.draw}")
        return f"{self.name} ({', '.join(filter(None, details))})"

    @property
    def columns(self) -> dict[str, str | int]:
        """Its columns in the rows of a study."""
        return {
            "regime": self.name,
            "variant": self.variant,
            "train_tasks": "+".join(self.train_tasks),
            "draw": self.draw,
            "pairs": self.pairs,
        }


def of_row(row: Mapping[str, Any], values: Mapping[CircuitKey, Value]) -> Value:
    """The value of the circuit that a row of a study is about."""
    for key, value in values.items():
        if all(row[name] == expected for name, expected in key.columns.items()):
            return value
    raise KeyError(f"no circuit of the row {dict(row)}")
