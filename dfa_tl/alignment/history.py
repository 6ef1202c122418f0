"""`AlignmentHistory`: the losses and the mean mask of each training step."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
from jaxtyping import Float
from torch import Tensor

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError


@checked_arguments
@dataclass(frozen=True, eq=False)
class AlignmentHistory:
    """Losses and mean mask of each training step.

    Attributes:
        loss: KL plus lambda times the mean mask, plus the weighted profile penalty if there is one.
        kl: KL(P_clean || P_intervened), mean over the batch, in nats.
        mean_mask: Mean of the mask over the target's nodes.
        tasks: The task of each step.
    """

    loss: Float[Tensor, " step"]
    kl: Float[Tensor, " step"]
    mean_mask: Float[Tensor, " step"]
    tasks: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("loss", "kl", "mean_mask"):
            shape = tuple(getattr(self, name).shape)
            if shape != (len(self.tasks),):
                raise ConfigError(
                    f"{name}: expected one number for each of the {len(self.tasks)} steps in "
                    f"tasks, got shape {shape}"
                )

    def __len__(self) -> int:
        return len(self.tasks)

    def to_frame(self) -> pd.DataFrame:
        """One row per step: `step`, `task`, `loss`, `kl`, `mean_mask`."""
        return pd.DataFrame(
            {
                "step": range(len(self)),
                "task": self.tasks,
                "loss": self.loss.numpy(),
                "kl": self.kl.numpy(),
                "mean_mask": self.mean_mask.numpy(),
            }
        )
