"""From prompt pairs to the tokens of one model, each pair checked.

Prompts are tokenised one at a time by the model's own `to_tokens`, so each has exactly the tokens
that the model would see alone. How an answer string becomes a token is the `AnswerRule`:

    one-token     the string must be exactly one token
    first-token   its first token counts; both answers, and the strings in `as_long`, must have
                  equally many tokens (the Mechanistic Interpretability Benchmark's rule)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from dfa_tl.display import shortened
from dfa_tl.errors import DataError
from dfa_tl.tasks.prompt_pair import PromptPair

AnswerRule = Literal["one-token", "first-token"]


@runtime_checkable
class Tokenizer(Protocol):
    """What pairs need of a model (a `NodeModel` is one)."""

    def prompt_tokens(self, prompt: str, prepend_bos: bool | None = None) -> Int[Tensor, " pos"]:
        """Tokens of one prompt; `prepend_bos` is what its data set asks for."""
        ...

    def answer_tokens(self, answer: str) -> Int[Tensor, " pos"]:
        """Tokens of an answer string, nothing prepended."""
        ...

    @property
    def unknown_token(self) -> int | None:
        """The token for what the vocabulary lacks, if there is one."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """How many tokens the model knows: ids run from 0 to one less."""
        ...

    @property
    def context_length(self) -> int:
        """How many tokens a prompt may have."""
        ...


@dataclass(frozen=True)
class Dropped:
    """A pair that one model's tokenizer makes unusable.

    Attributes:
        number: Its index among the pairs, from 0.
        pair: The pair.
        reason: What is wrong with it.
    """

    number: int
    pair: PromptPair
    reason: str

    def __str__(self) -> str:
        prompts = (shortened(text, 100) for text in (self.pair.clean, self.pair.corrupt))
        return f"pair {self.number} ({' / '.join(map(repr, prompts))}): {self.reason}"


class PairTokens(NamedTuple):
    """One pair as tokens: `pos`, `pos` and 2 of them."""

    clean: Int[Tensor, " pos"]
    corrupt: Int[Tensor, " pos"]
    answers: Int[Tensor, " 2"]


class Sorted(NamedTuple):
    """Usable pairs by their index, and the unusable ones."""

    usable: dict[int, PairTokens]
    dropped: list[Dropped]


def sort_pairs(
    pairs: Sequence[PromptPair],
    tokenizer: Tokenizer,
    rule: AnswerRule,
    limit: int | None,
    prepend_bos: bool | None = None,
) -> Sorted:
    """Tokenise pairs in order until `limit` usable ones are found."""
    found = Sorted({}, [])
    for number, pair in enumerate(pairs):
        if len(found.usable) == limit:
            break
        try:
            found.usable[number] = _pair_tokens(pair, tokenizer, rule, prepend_bos)
        except DataError as error:
            found.dropped.append(Dropped(number, pair, str(error)))
    return found


def _pair_tokens(
    pair: PromptPair, tokenizer: Tokenizer, rule: AnswerRule, prepend_bos: bool | None
) -> PairTokens:
    if rule == "first-token":
        _check_as_long(pair, tokenizer)
    prompts = []
    for which, text in (("clean", pair.clean), ("corrupt", pair.corrupt)):
        if not text.strip():
            raise DataError(f"the {which} prompt is empty")
        tokens = tokenizer.prompt_tokens(text, prepend_bos)
        _check_embedded(f"the {which} prompt", tokens, tokenizer)
        if tokenizer.unknown_token is not None and bool((tokens == tokenizer.unknown_token).any()):
            raise DataError(f"the {which} prompt has words that the tokenizer does not know")
        prompts.append(tokens)
    clean, corrupt = prompts
    if len(clean) != len(corrupt):
        raise DataError(f"clean has {len(clean)} tokens, corrupt {len(corrupt)}; make them equal")
    answers = [_answer_token(a, tokenizer, rule) for a in (pair.answer, pair.wrong_answer)]
    if answers[0] == answers[1]:
        raise DataError(
            f"answer and wrong answer are the same token ({pair.answer!r}, {pair.wrong_answer!r})"
        )
    return PairTokens(clean, corrupt, torch.tensor(answers, device="cpu"))


def _check_embedded(what: str, tokens: Int[Tensor, " pos"], tokenizer: Tokenizer) -> None:
    """Raise `DataError` for tokens that the model's embedding has no row for."""
    unembedded = tokens[tokens >= tokenizer.vocabulary_size].unique().tolist()
    if unembedded:
        some = ", ".join(map(str, unembedded[:5])) + (", .." if len(unembedded) > 5 else "")
        raise DataError(
            f"{what} has tokens ({some}) beyond the model's embedding, which has "
            f"{tokenizer.vocabulary_size} rows: the tokenizer is larger than the model. Write the "
            "pair without them, or enlarge the embedding (resize_token_embeddings)"
        )


def _check_as_long(pair: PromptPair, tokenizer: Tokenizer) -> None:
    texts = [t for t in (pair.answer, pair.wrong_answer, *pair.as_long) if isinstance(t, str)]
    lengths = [len(tokenizer.answer_tokens(text)) for text in texts]
    if len(set(lengths)) > 1:
        counted = ", ".join(f"{text!r} {n}" for text, n in zip(texts, lengths, strict=True))
        raise DataError(f"the answers have different numbers of tokens ({counted})")


def _answer_token(answer: str | int, tokenizer: Tokenizer, rule: AnswerRule) -> int:
    if isinstance(answer, int):
        if not 0 <= answer < tokenizer.vocabulary_size:
            raise DataError(
                f"answer token {answer} is outside the vocabulary, "
                f"0 to {tokenizer.vocabulary_size - 1}; token ids hold for one tokenizer only"
            )
        return answer
    tokens = tokenizer.answer_tokens(answer)
    _check_embedded(f"answer {answer!r}", tokens, tokenizer)
    if len(tokens) == 0 or (rule == "one-token" and len(tokens) > 1):
        digits = "; this tokenizer splits numbers" if answer.strip().isdigit() else ""
        raise DataError(
            f"answer {answer!r} is {len(tokens)} tokens; it must be exactly one{digits}"
        )
    if tokenizer.unknown_token is not None and bool((tokens == tokenizer.unknown_token).any()):
        raise DataError(f"answer {answer!r} is not in the tokenizer's vocabulary")
    return int(tokens[0])
