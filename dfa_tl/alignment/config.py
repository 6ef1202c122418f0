"""`AlignmentConfig`: how W is initialised and trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dfa_tl.errors import ConfigError

Normalization = Literal["none", "max", "centered"]
Initialization = Literal["random", "depth-mean"]


@dataclass(frozen=True)
class AlignmentConfig:
    """Settings of `align`.

    Attributes:
        normalization: What is done to source scores before W: `none`; `max`, division by the
            largest absolute score; `centered`, zero mean and unit standard deviation.
        initialization: W at the start: `random`, N(0, init_std^2); or `depth-mean`, the fixed
            map between layers of equal relative depth (`dfa_tl.alignment.depth`).
        init_std: Standard deviation of the random initialisation.
        temperature: t in mask = sigmoid(s W / t).
        sparsity: Weight lambda of the mean mask in the loss.
        learning_rate: Adam's.
        epochs: Passes over the pairs of all tasks.
        batch_size: Pairs per step.
        seed: Of the initialisation and of the order of the batches.

    Raises:
        ConfigError: a value that makes no sense.
    """

    normalization: Normalization = "centered"
    initialization: Initialization = "depth-mean"
    init_std: float = 0.02
    temperature: float = 1.0
    sparsity: float = 0.1
    learning_rate: float = 0.1
    epochs: int = 3
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.normalization not in get_args(Normalization):
            raise ConfigError(
                f"normalization={self.normalization!r}: choose one of "
                f"{', '.join(get_args(Normalization))}"
            )
        if self.initialization not in get_args(Initialization):
            raise ConfigError(
                f"initialization={self.initialization!r}: choose one of "
                f"{', '.join(get_args(Initialization))}"
            )
        for name in ("temperature", "learning_rate", "init_std"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must be above 0")
        if not self.sparsity >= 0:
            raise ConfigError(f"sparsity={self.sparsity}: must be at least 0")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")

    @classmethod
    def paper(cls, **changes: object) -> AlignmentConfig:
        """The paper's settings: raw scores, W ~ N(0, 0.02^2), Adam at 0.1, 3 epochs, lambda 0.1."""
        settings: dict = {"normalization": "none", "initialization": "random", **changes}
        return cls(**settings)
