"""Multiple-choice questions: four lettered choices, the answer is a letter.

The corrupt prompt keeps the question and the choices and changes the four letters to four others,
as the Mechanistic Interpretability Benchmark's `symbol_counterfactual` pairs do. The wrong answer
is the letter that the right choice has there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from dfa_tl.tasks.generators.vocabulary import LETTERS
from dfa_tl.tasks.prompt_pair import PromptPair

N_CHOICES = 4
ENDING = "Answer :"
WORDS = {*ENDING.split(), *LETTERS}


def options(rng: random.Random, right: str, pool: Sequence[str]) -> list[str]:
    """The right choice among three wrong ones of `pool`, in random order."""
    chosen = [right, *rng.sample([word for word in pool if word != right], N_CHOICES - 1)]
    rng.shuffle(chosen)
    return chosen


def lettered_pair(
    rng: random.Random, question: str, choices: Sequence[str], right: str
) -> PromptPair:
    """A pair that asks `question`, its choices under four letters and under four others."""
    letters = rng.sample(LETTERS, 2 * N_CHOICES)
    clean, corrupt = letters[:N_CHOICES], letters[N_CHOICES:]

    def prompt(labels: Sequence[str]) -> str:
        listed = " ".join(
            f"{label} {choice}" for label, choice in zip(labels, choices, strict=True)
        )
        return f"{question} {listed} {ENDING}"

    index = choices.index(right)
    return PromptPair(
        clean=prompt(clean),
        corrupt=prompt(corrupt),
        answer=f" {clean[index]}",
        wrong_answer=f" {corrupt[index]}",
    )
