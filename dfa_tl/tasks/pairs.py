"""Prompt pairs, their tokens, and batches of them.

Prompts are tokenised one at a time by the model's own `to_tokens`, so each has exactly the tokens
that the model would see alone; padding goes on the right and an attention mask marks what is real.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dfa_tl.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

OnInvalid = Literal["raise", "drop"]


@runtime_checkable
class Tokenizer(Protocol):
    """What pairs need of a model (a `NodeModel` is one)."""

    def prompt_tokens(self, prompt: str) -> Int[Tensor, " pos"]:
        """Tokens of one prompt, with the model's default BOS."""
        ...

    def answer_tokens(self, answer: str) -> Int[Tensor, " pos"]:
        """Tokens of an answer string, nothing prepended."""
        ...

    @property
    def unknown_token(self) -> int | None:
        """The token for what the vocabulary lacks, if there is one."""
        ...


@dataclass(frozen=True)
class PromptPair:
    """A clean and a corrupt prompt of equal token length, the right and the wrong answer.

    Answers are strings of exactly one token in the model's tokenizer, or token ids.
    """

    clean: str
    corrupt: str
    answer: str | int
    wrong_answer: str | int


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

    def select(self, rows: Tensor | Sequence[int], device: torch.device | str) -> PairBatch:
        """The pairs at `rows` as a batch on `device`."""
        index = torch.as_tensor(rows, dtype=torch.long)
        lengths = self.lengths[index]
        width = int(lengths.max())
        mask = torch.arange(width) < lengths[:, None]
        return PairBatch(
            clean=self.clean[index, :width].to(device),
            corrupt=self.corrupt[index, :width].to(device),
            mask=mask.to(device),
            last=(lengths - 1).to(device),
            answers=self.answers[index].to(device),
            index=index,
        )

    def row_batches(self, batch_size: int) -> list[Tensor]:
        """Rows of each batch, pairs of equal length together so that little is padded."""
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: must be at least 1")
        return list(self.lengths.argsort(stable=True).split(batch_size))


@dataclass(frozen=True)
class PairDataset:
    """Named prompt pairs.

    Attributes:
        pairs: The pairs, as text.
        name: The task they pose.
        on_invalid: What to do with pairs that a model's tokenizer makes unusable: `raise` a
            `DataError` that lists them, or `drop` them and log how many.
        tokens: Set by `from_tokens` only: the pairs as tokens, used as they are.
    """

    pairs: tuple[PromptPair, ...]
    name: str = "pairs"
    on_invalid: OnInvalid = "raise"
    tokens: TokenPairs | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple(self.pairs))
        if self.on_invalid not in ("raise", "drop"):
            raise ConfigError(f"on_invalid={self.on_invalid!r}: choose 'raise' or 'drop'")

    @classmethod
    def from_tokens(
        cls,
        clean: Int[Tensor, "pair pos"],
        corrupt: Int[Tensor, "pair pos"],
        answers: Int[Tensor, "pair 2"],
        lengths: Int[Tensor, " pair"] | None = None,
        name: str = "tokens",
    ) -> PairDataset:
        """Pairs given as tokens, used exactly as they are: nothing is prepended.

        Args:
            clean, corrupt: Token ids, padded on the right to a common width.
            answers: Right and wrong answer token of each pair.
            lengths: Real tokens of each pair; None when nothing is padded.
            name: The task.
        """
        if lengths is None:
            lengths = torch.full((len(clean),), clean.shape[-1])
        given = (clean, corrupt, lengths, answers)
        clean, corrupt, lengths, answers = (tensor.detach().cpu().long() for tensor in given)
        tokens = TokenPairs(clean, corrupt, lengths, answers, name)
        return cls(pairs=(), name=name, tokens=tokens)

    def __len__(self) -> int:
        return len(self.pairs) if self.tokens is None else len(self.tokens)

    def __getitem__(self, rows: slice) -> PairDataset:
        if not isinstance(rows, slice):
            raise ConfigError("a data set is cut with a slice, data[:10]; pairs are in data.pairs")
        if self.tokens is None:
            return replace(self, pairs=self.pairs[rows])
        t = self.tokens
        cut = TokenPairs(t.clean[rows], t.corrupt[rows], t.lengths[rows], t.answers[rows], t.name)
        return replace(self, tokens=cut)

    def tokenize(self, tokenizer: Tokenizer) -> TokenPairs:
        """The pairs as tokens of one model, each checked.

        Raises:
            DataError: no pairs; or (with `on_invalid="raise"`) pairs of unequal token length,
                with an answer that is not one token, with an empty prompt, with words unknown
                to the tokenizer, or with equal answers: the message lists them.
        """
        if self.tokens is not None:
            return self.tokens
        if not self.pairs:
            raise DataError(f"{self.name!r} holds no pairs; nothing can be measured on it")
        rows: list[tuple[Tensor, Tensor, Tensor]] = []
        problems: list[str] = []
        for number, pair in enumerate(self.pairs):
            try:
                rows.append(_pair_tokens(pair, tokenizer))
            except DataError as error:
                problems.append(f"pair {number} ({pair.clean!r} / {pair.corrupt!r}): {error}")
        if problems:
            listed = "\n  ".join(problems[:10]) + ("\n  ..." if len(problems) > 10 else "")
            summary = f"{len(problems)} of {len(self.pairs)} pairs of {self.name!r} cannot be used"
            if self.on_invalid == "raise" or not rows:
                raise DataError(
                    f"{summary}:\n  {listed}\nMend them, or leave them out with "
                    "PairDataset(..., on_invalid='drop')"
                )
            logger.warning("%s and were left out:\n  %s", summary, listed)
        clean, corrupt, answers = zip(*rows, strict=True)
        return TokenPairs(
            clean=pad_sequence(list(clean), batch_first=True),
            corrupt=pad_sequence(list(corrupt), batch_first=True),
            lengths=torch.tensor([len(row) for row in clean]),
            answers=torch.stack(answers),
            name=self.name,
        )

    def __repr__(self) -> str:
        return f"PairDataset({self.name!r}, {len(self)} pairs)"


def _pair_tokens(pair: PromptPair, tokenizer: Tokenizer) -> tuple[Tensor, Tensor, Tensor]:
    prompts = []
    for which, text in (("clean", pair.clean), ("corrupt", pair.corrupt)):
        if not text.strip():
            raise DataError(f"the {which} prompt is empty")
        tokens = tokenizer.prompt_tokens(text)
        if tokenizer.unknown_token is not None and bool((tokens == tokenizer.unknown_token).any()):
            raise DataError(f"the {which} prompt has words that the tokenizer does not know")
        prompts.append(tokens)
    clean, corrupt = prompts
    if len(clean) != len(corrupt):
        raise DataError(f"clean has {len(clean)} tokens, corrupt {len(corrupt)}; make them equal")
    answers = [_answer_token(a, tokenizer) for a in (pair.answer, pair.wrong_answer)]
    if answers[0] == answers[1]:
        raise DataError(f"answer and wrong answer are the same token ({pair.answer!r})")
    return clean, corrupt, torch.tensor(answers)


def _answer_token(answer: str | int, tokenizer: Tokenizer) -> int:
    if isinstance(answer, int):
        return answer
    tokens = tokenizer.answer_tokens(answer)
    if len(tokens) != 1:
        raise DataError(f"answer {answer!r} is {len(tokens)} tokens; it must be exactly one")
    if int(tokens[0]) == tokenizer.unknown_token:
        raise DataError(f"answer {answer!r} is not in the tokenizer's vocabulary")
    return int(tokens[0])
