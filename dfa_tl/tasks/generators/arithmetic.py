"""Addition and subtraction of small numbers, one token each.

The corrupt prompt has other operands whose answer differs; the wrong answer is that answer.
Addition takes operands from 0 to `MAX_OPERAND`; subtraction is its inverse, (a + b) - b = a.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from dfa_tl.tasks.generators.generate import Allowed
from dfa_tl.tasks.generators.vocabulary import MAX_OPERAND, NUMBERS
from dfa_tl.tasks.prompt_pair import PromptPair

WORDS = {"+", "-", "=", *NUMBERS}


def _addition(rng: random.Random) -> tuple[str, str, int]:
    a, b = rng.randint(0, MAX_OPERAND), rng.randint(0, MAX_OPERAND)
    return f"add {sorted((a, b))}", f"{a} + {b} =", a + b


def _subtraction(rng: random.Random) -> tuple[str, str, int]:
    a, b = rng.randint(0, MAX_OPERAND), rng.randint(0, MAX_OPERAND)
    return f"subtract {a + b} {b}", f"{a + b} - {b} =", a


def _draw(
    problem: Callable[[random.Random], tuple[str, str, int]], rng: random.Random, allowed: Allowed
) -> PromptPair:
    def allowed_problem() -> tuple[str, int]:
        while True:
            key, prompt, result = problem(rng)
            if allowed(key):
                return prompt, result

    clean, answer = allowed_problem()
    corrupt, other = allowed_problem()
    while other == answer:
        corrupt, other = allowed_problem()
    return PromptPair(clean, corrupt, answer=f" {answer}", wrong_answer=f" {other}")


def draw_addition(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair of additions of the split (a + b and b + a are the same problem)."""
    return _draw(_addition, rng, allowed)


def draw_subtraction(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair of subtractions of the split."""
    return _draw(_subtraction, rng, allowed)
