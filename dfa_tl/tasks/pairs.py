"""Prompt pairs by name: from text or tokens, to the tokens of one model, to other tools.

How a pair becomes tokens is in `dfa_tl.tasks.tokenization`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, SupportsIndex, get_args, overload

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from dfa_tl.arguments import checked_arguments
from dfa_tl.display import shown
from dfa_tl.errors import ConfigError, DataError
from dfa_tl.settings import check_switch, whole_number
from dfa_tl.tasks.batches import TokenPairs, padded, whole_numbers_of
from dfa_tl.tasks.prompt_pair import PromptPair, token_id
from dfa_tl.tasks.sources.eap_ig import EapIgBatch, pairs_of_batches
from dfa_tl.tasks.tokenization import (
    AnswerRule,
    Dropped,
    PairTokens,
    Sorted,
    Tokenizer,
    sort_pairs,
)

logger = logging.getLogger(__name__)

OnInvalid = Literal["raise", "drop"]


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
        limit: Use only this many pairs, the first that a model's tokenizer can use.
        left_out: Descriptions of what the source holds and `pairs` does not, for the report.
        prepend_bos: Whether prompts begin with a BOS: None as the model does by default, True with
            one (the benchmark's tasks), False without. A `load_model(prepend_bos=...)` takes
            precedence.

    Raises:
        ConfigError: a setting has a value that it cannot have.
        DataError: one of the pairs is not a `PromptPair`; the message names it.

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
    prepend_bos: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", _checked(self.pairs))
        check_switch("prepend_bos", self.prepend_bos)
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
        clean: Integer[Tensor | np.ndarray, "pair pos"] | Sequence[Sequence[int]],
        corrupt: Integer[Tensor | np.ndarray, "pair pos"] | Sequence[Sequence[int]],
        answers: Integer[Tensor | np.ndarray, "pair 2"] | Sequence[Sequence[int]],
        lengths: Integer[Tensor | np.ndarray, " pair"] | Sequence[int] | None = None,
        name: str = "tokens",
    ) -> PairDataset:
        """Pairs given as tokens, used exactly as they are: nothing is prepended.

        Tensors, numpy arrays or lists, of any integer type.

        Args:
            clean, corrupt: Token ids, padded on the right to a common width.
            answers: Right and wrong answer token of each pair.
            lengths: Real tokens of each pair; None when nothing is padded.
            name: The task.

        Raises:
            DataError: no pairs; values that are not whole numbers, or rows, shapes or values that
                do not fit together. What a model cannot take is refused when it is to run.
        """
        given = {"clean": clean, "corrupt": corrupt, "answers": answers}
        whole = {which: whole_numbers_of(which, values) for which, values in given.items()}
        if lengths is None:
            n, width = whole["clean"].shape[:1], whole["clean"].shape[-1:]
            whole["lengths"] = torch.full(n, width[0] if width else 0, device="cpu")
        else:
            whole["lengths"] = whole_numbers_of("lengths", lengths)
        return cls(pairs=(), name=name, tokens=TokenPairs(**whole, name=name))

    @classmethod
    @checked_arguments
    def from_eap_ig(cls, batches: Iterable[Sequence[Any]], name: str = "pairs") -> PairDataset:
        """Pairs from an EAP-IG dataloader; see `dfa_tl.tasks.sources.eap_ig`.

        Prompts begin with a BOS, as EAP-IG's always do (`prepend_bos=True`).

        Args:
            batches: Batches of clean prompts, corrupted prompts and `[correct, incorrect]` token
                ids. The ids hold for one tokenizer only.
            name: The task.

        Raises:
            DataError: a batch of another form; the message says which.
        """
        return cls(pairs_of_batches(batches), name=name, prepend_bos=True)

    @checked_arguments
    def to_eap_ig(self, tokenizer: Tokenizer, batch_size: int = 16) -> list[EapIgBatch]:
        """The usable pairs as the batches that EAP-IG code loops over, in their order.

        EAP-IG tokenises the prompts itself, always with a BOS.

        Args:
            tokenizer: The model whose tokens the labels are.
            batch_size: Pairs per batch.

        Raises:
            ConfigError: the pairs are tokens (`from_tokens`), and EAP-IG needs text.
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

    @overload
    def __getitem__(self, rows: SupportsIndex) -> PromptPair | PairTokens: ...

    @overload
    def __getitem__(self, rows: slice) -> PairDataset: ...

    def __getitem__(self, rows: SupportsIndex | slice) -> PromptPair | PairTokens | PairDataset:
        """A pair by its index, from the end if negative, or some pairs as a data set.

        A pair of `from_tokens` is a `PairTokens`: `clean` and `corrupt` without padding, and
        `answers`. A data set with a `limit` gives the first pairs of its source, whether or not
        a model's tokenizer can use them.

        Raises:
            IndexError: there is no pair with that index.
            ConfigError: `rows` is neither a whole number nor a slice, or is a slice that does not
                begin at the first pair of a data set with a `limit`.
        """
        if not isinstance(rows, slice):
            return self._pair(rows)
        if self.limit is not None:
            start, stop, step = rows.indices(len(self))
            if start != 0 or step != 1:
                raise ConfigError(
                    f"{self.name!r} is the first {self.limit} pairs that a model's tokenizer can "
                    "use, so a slice must begin at the first pair (data[:10]); load it without n "
                    "to take any slice"
                )
            return replace(self, limit=stop) if stop else replace(self, pairs=(), limit=None)
        if self.tokens is None:
            return replace(self, pairs=self.pairs[rows])
        t = self.tokens
        cut = TokenPairs(t.clean[rows], t.corrupt[rows], t.lengths[rows], t.answers[rows], t.name)
        return replace(self, tokens=cut)

    def _pair(self, number: SupportsIndex) -> PromptPair | PairTokens:
        try:
            index = range(len(self))[token_id(number)]
        except ValueError as error:
            raise ConfigError(
                f"data[{shown(number)}]: give the index of a pair, data[0], or a slice, data[:10]"
            ) from error
        except IndexError as error:
            raise IndexError(f"no pair {number}: {self.name!r} has {len(self)} pairs") from error
        if self.tokens is None:
            return self.pairs[index]
        t, length = self.tokens, int(self.tokens.lengths[index])
        return PairTokens(t.clean[index, :length], t.corrupt[index, :length], t.answers[index])

    @checked_arguments
    def tokenize(self, tokenizer: Tokenizer) -> TokenPairs:
        """The pairs as tokens of one model, each checked.

        Raises:
            DataError: no pairs; or (with `on_invalid="raise"`) pairs of unequal token length,
                with an answer that is not one token, with an empty prompt, with words unknown
                to the tokenizer, with tokens beyond the model's embedding, or with equal answers:
                the message lists them; or tokens that the model does not know, or more of them
                than it takes.
            ModelError: prompts should begin with a BOS, and the tokenizer has none.
        """
        if self.tokens is not None:
            self.tokens.check_fits(tokenizer.vocabulary_size, tokenizer.context_length)
            return self.tokens
        return padded(list(self._usable(tokenizer).usable.values()), self.name)

    @checked_arguments
    def sorted_for(self, tokenizer: Tokenizer) -> Sorted:
        """Which pairs a model's tokenizer can use, and which it cannot, with the reasons."""
        return sort_pairs(self.pairs, tokenizer, self.answer_rule, self.limit, self.prepend_bos)

    def _usable(self, tokenizer: Tokenizer) -> Sorted:
        """The sorted pairs; unusable ones are raised or logged, as `on_invalid` says."""
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


def _checked(pairs: Iterable[PromptPair]) -> tuple[PromptPair, ...]:
    what = "expected PromptPair(clean, corrupt, answer, wrong_answer), or several of them in a list"
    if isinstance(pairs, (str, Mapping)) or not isinstance(pairs, Iterable):
        raise DataError(f"pairs={shown(pairs)}: {what}")
    found = tuple(pairs)
    for number, pair in enumerate(found):
        if not isinstance(pair, PromptPair):
            raise DataError(f"pair {number} is a {type(pair).__name__}, {shown(pair)}: {what}")
    return found


def _listed(dropped: Sequence[Dropped]) -> str:
    return "\n  ".join(map(str, dropped[:10])) + ("\n  ..." if len(dropped) > 10 else "")
