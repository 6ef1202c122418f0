"""What identifies jobs and measured circuits.

`PairSpec` says between which models, `CircuitKey` which circuit, and `View` how it was measured.
Every field of a job is part of its key, but for a `machine_field`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dfa_tl.arguments import got
from dfa_tl.display import shown
from dfa_tl.errors import ConfigError
from dfa_tl.settings import listed

Value = TypeVar("Value")


def machine_field(**options: Any) -> Any:
    """A field that does not decide the result."""
    return field(metadata={"decides": False}, **options)


@dataclass(frozen=True)
class PairSpec:
    """A source and a target model, by the names or folders that `load_model` takes.

    Attributes:
        source: Model whose circuits are known.
        target: Model that they are carried over to.
        via: Models in between: W is trained for each step and the steps are composed.
    """

    source: str
    target: str
    via: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "via", listed(self.via))
        for name in ("source", "target"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(
                    f"PairSpec({name}=...): expected the name of a model, got "
                    f"{got(getattr(self, name))}"
                )
        if not all(isinstance(model, str) and model for model in self.models):
            raise ConfigError(
                f"via: a pair needs the names of its models, got {shown(self.models)}"
            )

    @property
    def models(self) -> tuple[str, ...]:
        """The source, the models in between, and the target."""
        return (self.source, *self.via, self.target)

    @property
    def labels(self) -> tuple[str, ...]:
        """The models as a page names them: of a folder its own name, if that tells them apart."""
        short = tuple(
            Path(model).name if model.startswith(("/", ".", "~")) else model
            for model in self.models
        )
        return short if len({*short}) == len({*self.models}) else self.models

    @property
    def label(self) -> str:
        """The pair as a page names it."""
        return " -> ".join(self.labels)

    @property
    def name(self) -> str:
        """`source -> target`, with the models in between."""
        return " -> ".join(self.models)

    @property
    def steps(self) -> tuple[tuple[str, str], ...]:
        """Source and target of each W."""
        return tuple(pairwise(self.models))


class View(NamedTuple):
    """One evaluation setting."""

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
