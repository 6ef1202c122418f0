"""Costs in passes of one pair through a model: a batch of 16 pairs counts as 16."""

from __future__ import annotations

from typing import NamedTuple


class Passes(NamedTuple):
    """Forward and backward passes of one pair; None where they are unknown."""

    forward: int | None = None
    backward: int | None = None

    def times(self, n: int) -> Passes:
        """The passes of `n` pairs."""
        return Passes(*(None if one is None else n * one for one in self))
