"""Prompt pairs by name: from text or tokens, to the tokens of one model, to other tools.

How a pair becomes tokens is in `dfa_tl.tasks.tokenization`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from dfa_tl.arguments import checked_arguments, got
from dfa_tl.errors import ConfigError, DataError
from dfa_tl.settings import whole_number
from dfa_tl.tasks.batches import TokenPairs, padded
from dfa_tl.tasks.eap_ig import EapIgBatch, pairs_of_batches
from dfa_tl.tasks.tokenization import (
    AnswerRule,
    Dropped,
    PromptPair,
    Sorted,
    Tokenizer,
    sort_pairs,
)

if TYPE_CHECKING:
    from dfa_tl.tasks.report import PairsReport, Runner

logger = logging.getLogger(__name__)

OnInvalid = Literal["raise", "drop"]
_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@checked_arguments(skip=("pairs",))
@dataclass(frozen=True)
class PairDataset:
    """Named prompt pairs.

    Attributes:
        pairs: The pairs, as text.
        name: The task they pose.
        on_invalid: What to do with pairs that a model's tokenizer makes unusable: `raise` a
            `DataError` that lists them, or `drop` them and log how many.
        tokens: Set by `from_tokens` only: the pairs as tokens, used as they are.
        answer_rule: How an answer becomes a token; see `dfa_tl.tasks.tokenization`.
        limit: Use only the first so many pairs that a model's tokenizer leaves usable.
        left_out: What the source holds and `pairs` does not, in words, for the report.

    Example:
        >>> pair = PromptPair("16 + 14 =", "3 + 11 =", answer=" 30", wrong_answer=" 14")
        >>> data = PairDataset((pair,), name="sums")
        >>> tokens = data.tokenize(load_model("toy-small"))
        >>> tuple(tokens.clean.shape), tokens.lengths.tolist()
        ((1, 5), [5])
    """

    pairs: tuple[PromptPair, ...]
    name: str = "pairs"
    on_invalid: OnInvalid = "raise"
    tokens: TokenPairs | None = None
    answer_rule: AnswerRule = "one-token"
    limit: int | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple(self.pairs))
        for setting, allowed in (("on_invalid", OnInvalid), ("answer_rule", AnswerRule)):
            if getattr(self, setting) not in get_args(allowed):
                choices = " or ".join(map(repr, get_args(allowed)))
                raise ConfigError(f"{setting}={getattr(self, setting)!r}: choose {choices}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit={self.limit}: ask for at least one pair")

    @classmethod
    @checked_arguments
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

        Raises:
            DataError: no pairs; tensors that are not of whole numbers, or whose shapes or values do
                not fit together. What a model cannot take is refused when it is to run.
        """
        if lengths is None:
            width = clean.shape[-1] if clean.dim() else 0
            lengths = clean.new_full(clean.shape[:1], width, dtype=torch.long)
        given = {"clean": clean, "corrupt": corrupt, "lengths": lengths, "answers": answers}
        for which, tensor in given.items():
            if tensor.dtype not in _WHOLE:
                raise DataError(
                    f"{which} must be whole numbers (torch.long), got {tensor.dtype}: token ids "
                    "are not rounded"
                )
        whole = {which: tensor.detach().cpu().long() for which, tensor in given.items()}
        return cls(pairs=(), name=name, tokens=TokenPairs(**whole, name=name))

    @classmethod
    @checked_arguments
    def from_eap_ig(cls, batches: Iterable[Sequence[Any]], name: str = "pairs") -> PairDataset:
        """Pairs from an EAP-IG dataloader; see `dfa_tl.tasks.eap_ig`.

        Args:
            batches: Batches of clean prompts, corrupted prompts and `[correct, incorrect]` token
                ids. The ids hold for one tokenizer only.
            name: The task.

        Raises:
            DataError: a batch of another form; the message says which.
        """
        return cls(pairs_of_batches(batches), name=name)

    @checked_arguments
    def to_eap_ig(self, tokenizer: Tokenizer, batch_size: int = 16) -> list[EapIgBatch]:
        """The usable pairs as the batches that EAP-IG code loops over, in their order.

        EAP-IG tokenises the prompts itself, always with a BOS.

        Args:
            tokenizer: The model whose tokens the labels are.
            batch_size: Pairs per batch.

        Raises:
            ConfigError: the pairs are tokens (`from_tokens`), so there is no text to give.
            DataError: as `tokenize`.
        """
        if self.tokens is not None:
            raise ConfigError(f"{self.name!r} holds tokens; EAP-IG needs the prompts as text")
        batch_size = whole_number("batch_size", batch_size, 1)
        usable = self._usable(tokenizer).usable
        rows = [(self.pairs[number], tokens.answers) for number, tokens in usable.items()]
        return [
            EapIgBatch(
                clean=[pair.clean for pair, _ in rows[start : start + batch_size]],
                corrupted=[pair.corrupt for pair, _ in rows[start : start + batch_size]],
                labels=torch.stack([answers for _, answers in rows[start : start + batch_size]]),
            )
            for start in range(0, len(rows), batch_size)
        ]

    def __len__(self) -> int:
        if self.tokens is not None:
            return len(self.tokens)
        return len(self.pairs) if self.limit is None else min(self.limit, len(self.pairs))

    def __getitem__(self, rows: slice) -> PairDataset:
        if not isinstance(rows, slice):
            raise ConfigError("a data set is cut with a slice, data[:10]; pairs are in data.pairs")
        if self.limit is not None:
            start, stop, step = rows.indices(len(self))
            if start != 0 or step != 1:
                raise ConfigError(
                    f"{self.name!r} takes the first {self.limit} pairs that a model's tokenizer "
                    "leaves, so only its beginning can be cut off (data[:10]); load it without n "
                    "to cut it anywhere"
                )
            return replace(self, limit=stop) if stop else replace(self, pairs=(), limit=None)
        if self.tokens is None:
            return replace(self, pairs=self.pairs[rows])
        t = self.tokens
        cut = TokenPairs(t.clean[rows], t.corrupt[rows], t.lengths[rows], t.answers[rows], t.name)
        return replace(self, tokens=cut)

    @checked_arguments
    def tokenize(self, tokenizer: Tokenizer) -> TokenPairs:
        """The pairs as tokens of one model, each checked.

        Raises:
            DataError: no pairs; or (with `on_invalid="raise"`) pairs of unequal token length,
                with an answer that is not one token, with an empty prompt, with words unknown
                to the tokenizer, or with equal answers: the message lists them; or tokens that
                the model does not know, or more of them than it takes.
        """
        if self.tokens is not None:
            self.tokens.check_fits(tokenizer.vocabulary_size, tokenizer.context_length)
            return self.tokens
        return padded(list(self._usable(tokenizer).usable.values()), self.name)

    @checked_arguments(skip=("model",))
    def report(self, model: Runner, *, batch_size: int = 16) -> PairsReport:
        """What the pairs look like to a model, and whether it can do the task.

        Args:
            model: Runs the clean and the corrupt prompts; it is as it was afterwards.
            batch_size: Pairs per run.
        """
        from dfa_tl.tasks.report import Runner, report  # it works on this class

        if not isinstance(model, Runner):
            raise ConfigError(
                f"PairDataset.report(model=...): expected a NodeModel, got {got(model)}"
            )
        return report(self, model, batch_size)

    @checked_arguments
    def sorted_for(self, tokenizer: Tokenizer) -> Sorted:
        """Which pairs a model's tokenizer leaves usable, and which it does not, and why."""
        return sort_pairs(self.pairs, tokenizer, self.answer_rule, self.limit)

    def _usable(self, tokenizer: Tokenizer) -> Sorted:
        """The same; raises or logs what `on_invalid` asks for."""
        if not self.pairs:
            raise DataError(f"{self.name!r} holds no pairs; nothing can be measured on it")
        found = self.sorted_for(tokenizer)
        n_used, n_dropped = len(found.usable), len(found.dropped)
        if n_dropped:
            summary = f"{n_dropped} of {n_used + n_dropped} pairs of {self.name!r} cannot be used"
            problems = _listed(found.dropped)
            if self.on_invalid == "raise":
                raise DataError(
                    f"{summary}:\n  {problems}\nFix them, or leave them out with "
                    "PairDataset(..., on_invalid='drop')"
                )
            if not n_used:
                raise DataError(
                    f"{summary}:\n  {problems}\nNone is left: this task does not suit the "
                    "model's tokenizer. Choose another task or another model"
                )
            logger.warning("%s and were left out:\n  %s", summary, problems)
        if self.limit is not None and n_used < self.limit:
            logger.warning(
                "%r: %d pairs were asked for, %d can be used", self.name, self.limit, n_used
            )
        return found

    def __repr__(self) -> str:
        return f"PairDataset({self.name!r}, {len(self)} pairs)"


def _listed(dropped: Sequence[Dropped]) -> str:
    return "\n  ".join(map(str, dropped[:10])) + ("\n  ..." if len(dropped) > 10 else "")
