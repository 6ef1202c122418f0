"""Tokenised pairs, and batches of them.

Padding goes on the right, and an attention mask marks what is real.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dfa_tl.errors import DataError
from dfa_tl.settings import whole_number
from dfa_tl.tasks.tokenization import PairTokens


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Some pairs on a device, padded on the right to the longest of them.

    Attributes:
        clean, corrupt: Token ids.
        mask: True at real positions (the same for both prompts of a pair).
        last: Index of the last real position.
        answers: Right and wrong answer token.
        index: Each row's position in the data set.
        clean_logits: Last logits of the clean run, for metrics that compare with it.
    """

    clean: Int[Tensor, "batch pos"]
    corrupt: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    last: Int[Tensor, " batch"]
    answers: Int[Tensor, "batch 2"]
    index: Int[Tensor, " batch"]
    clean_logits: Float[Tensor, "batch vocab"] | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_shared(self) -> int:
        """How many positions come before the first in which the prompts of any pair differ.

        The last real position of a pair is never one of them.
        """
        differs = (self.clean != self.corrupt).int()
        first = torch.where(differs.any(1), differs.argmax(1), self.last)
        return int(torch.minimum(first, self.last).min())

    def part(self, start: int, stop: int) -> PairBatch:
        """Rows `start` to `stop`, padded as before."""
        return self._each(lambda tensor: tensor[start:stop])

    def repeated(self, copies: int) -> PairBatch:
        """The whole batch `copies` times over."""
        return self._each(lambda tensor: repeat_rows(tensor, copies))

    def _each(self, change: Callable[[Tensor], Tensor]) -> PairBatch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: change(t) for k, t in tensors.items() if t is not None})

    def with_clean_logits(self, logits: Float[Tensor, "batch vocab"]) -> PairBatch:
        """The same pairs, knowing the logits of their clean run."""
        return replace(self, clean_logits=logits.detach())


def repeat_rows(tensor: Tensor, copies: int) -> Tensor:
    """All rows, then all rows again, `copies` times over."""
    return tensor.repeat(copies, *[1] * (tensor.dim() - 1))


@dataclass(frozen=True, eq=False)
class TokenPairs:
    """Tokenised pairs: what attribution, alignment and evaluation work on.

    Attributes:
        clean, corrupt: Token ids, padded on the right.
        lengths: Real tokens of each pair.
        answers: Right and wrong answer token.
        name: The task.

    Raises:
        DataError: no pairs, or tensors whose shapes or values do not fit together.
    """

    clean: Int[Tensor, "pair pos"]
    corrupt: Int[Tensor, "pair pos"]
    lengths: Int[Tensor, " pair"]
    answers: Int[Tensor, "pair 2"]
    name: str

    def __post_init__(self) -> None:
        n = len(self.clean)
        shapes = {key: tuple(getattr(self, key).shape) for key in ("clean", "corrupt", "answers")}
        if n == 0:
            raise DataError(f"{self.name!r} holds no pairs; nothing can be measured on it")
        if shapes["clean"] != shapes["corrupt"] or len(shapes["clean"]) != 2:
            raise DataError(f"clean and corrupt tokens must both be (pair, pos), got {shapes}")
        if shapes["answers"] != (n, 2) or self.lengths.shape != (n,):
            raise DataError(f"expected {n} lengths and ({n}, 2) answers, got {shapes}")
        if bool((self.lengths < 1).any()) or bool((self.lengths > self.clean.shape[1]).any()):
            raise DataError(f"lengths must lie between 1 and {self.clean.shape[1]}")
        if bool((self.answers[:, 0] == self.answers[:, 1]).any()):
            rows = (self.answers[:, 0] == self.answers[:, 1]).nonzero()[:, 0].tolist()
            raise DataError(f"answer and wrong answer are the same token in pairs {rows[:10]}")

    def __len__(self) -> int:
        return len(self.clean)

    def check_fits(self, size: int, context: int) -> None:
        """Raise `DataError` unless a model can run the pairs.

        Args:
            size: How many tokens the model knows.
            context: How many it takes.
        """
        if bool((self.lengths > context).any()):
            rows = (self.lengths > context).nonzero()[:, 0].tolist()
            raise DataError(
                f"pairs {rows[:10]} of {self.name!r} have up to {int(self.lengths.max())} tokens; "
                f"the model takes {context} at most"
            )
        for which in ("clean", "corrupt", "answers"):
            tokens = getattr(self, which)
            wrong = ((tokens < 0) | (tokens >= size)).any(1)
            if bool(wrong.any()):
                rows = wrong.nonzero()[:, 0].tolist()
                raise DataError(
                    f"{which} tokens of pairs {rows[:10]} of {self.name!r} are outside the "
                    f"vocabulary, 0 to {size - 1}; token ids hold for one tokenizer only"
                )

    def rows(self, indices: Sequence[int]) -> TokenPairs:
        """The pairs at these indices, which may occur more than once."""
        index = torch.as_tensor(indices, dtype=torch.long, device="cpu")
        return TokenPairs(
            self.clean[index], self.corrupt[index], self.lengths[index], self.answers[index],
            self.name,
        )  # fmt: skip

    def select(self, rows: Tensor | Sequence[int], device: torch.device | str) -> PairBatch:
        """The pairs at `rows` as a batch on `device`."""
        index = torch.as_tensor(rows, dtype=torch.long, device="cpu")
        lengths = self.lengths[index]
        width = int(lengths.max())
        mask = torch.arange(width, device="cpu") < lengths[:, None]
        return PairBatch(
            clean=self.clean[index, :width].to(device),
            corrupt=self.corrupt[index, :width].to(device),
            mask=mask.to(device),
            last=(lengths - 1).to(device),
            answers=self.answers[index].to(device),
            index=index,
        )

    def row_batches(self, batch_size: int) -> list[Tensor]:
        """Rows of each batch, pairs of equal length together so that little is padded.

        Raises:
            ConfigError: the batch size is not a whole number from 1.
        """
        size = whole_number("batch_size", batch_size, 1)
        return list(self.lengths.argsort(stable=True).split(size))


def whole_numbers_of(which: str, values: Any) -> Int[Tensor, "..."]:
    """Whole numbers of any integer type, in a tensor, an array or lists, as int64 on the CPU.

    Raises:
        DataError: the values are not whole numbers, or rows have unequal lengths.
    """
    tensor = isinstance(values, Tensor)
    try:
        array = np.atleast_1d(values.detach().cpu().numpy() if tensor else np.asarray(values))
    except (TypeError, ValueError) as error:  # a type that numpy lacks, or ragged rows
        if tensor:
            raise _not_whole(which, values.dtype) from error
        raise DataError(
            f"{which} cannot be read as whole numbers ({error}): rows must be equally long, padded "
            "on the right, with their lengths given"
        ) from error
    if array.dtype.kind not in "iu" and array.size:
        raise _not_whole(which, values.dtype if tensor else array.dtype)
    if array.size and array.max() >= 2**63:
        raise DataError(f"{which} has the number {array.max()}, which is not a token id")
    return torch.from_numpy(array.astype(np.int64))


def _not_whole(which: str, dtype: object) -> DataError:
    return DataError(
        f"{which} must be whole numbers (torch.long), got {dtype}: token ids are not rounded"
    )


def padded(pairs: Sequence[PairTokens], name: str) -> TokenPairs:
    """Single pairs as tensors, padded to the longest."""
    return TokenPairs(
        clean=pad_sequence([pair.clean for pair in pairs], batch_first=True),
        corrupt=pad_sequence([pair.corrupt for pair in pairs], batch_first=True),
        lengths=torch.tensor([len(pair.clean) for pair in pairs], device="cpu"),
        answers=torch.stack([pair.answers for pair in pairs]),
        name=name,
    )
