"""`PromptPair`: one pair as text, checked when it is made."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dfa_tl.display import shown
from dfa_tl.errors import DataError


@dataclass(frozen=True)
class PromptPair:
    """A clean and a corrupt prompt of equal token length, the right and the wrong answer.

    Answers are strings of exactly one token in the model's tokenizer, or token ids. An id may be of
    any integer type (numpy's, or a 0-dimensional tensor); it is kept as an `int`.

    Attributes:
        clean, corrupt: The prompts.
        answer, wrong_answer: The answers to the clean prompt.
        as_long: Other strings that must have as many tokens as the answers; only the answer rule
            `first-token` uses them.

    Raises:
        DataError: a prompt is not text, an answer is neither text nor a token id, or text is not
            valid Unicode (half of a surrogate pair).
    """

    clean: str
    corrupt: str
    answer: str | int
    wrong_answer: str | int
    as_long: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field, read in READERS.items():
            try:
                object.__setattr__(self, field, read(getattr(self, field)))
            except ValueError as error:
                parts = (self.clean, self.corrupt, self.answer, self.wrong_answer)
                raise DataError(
                    f"{field} {error}, in PromptPair({', '.join(map(shown, parts))})"
                ) from error


def valid_text(value: object) -> str:
    """`value` if it is text.

    Raises:
        ValueError: it is not; the message is a clause without its subject.
    """
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"is not valid Unicode (its character {error.start} is half of a surrogate pair)"
        ) from error
    return value


def token_id(value: Any) -> int:
    """A whole number of any integer type as an `int`. Raises `ValueError` as `valid_text` does."""
    if not isinstance(value, bool) and not str(getattr(value, "dtype", "")).endswith("bool"):
        with suppress(TypeError):  # floats, None, and whatever else has no index
            if getattr(value, "ndim", 0) == 0:
                return operator.index(value)
    raise ValueError(f"must be text or a token id (a whole number), not {type(value).__name__}")


def _answer(value: object) -> str | int:
    return valid_text(value) if isinstance(value, str) else token_id(value)


def _texts(values: object) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"must be a tuple of texts, not {type(values).__name__}")
    return tuple(map(valid_text, values))


READERS: dict[str, Callable[[Any], Any]] = {
    "clean": valid_text,
    "corrupt": valid_text,
    "answer": _answer,
    "wrong_answer": _answer,
    "as_long": _texts,
}
"""The function that reads each field."""
