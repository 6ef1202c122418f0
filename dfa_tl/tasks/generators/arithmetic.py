"""Addition and subtraction in number words.

The corrupt prompt has other numbers, whose result differs. A sum belongs to one split.
"""

from __future__ import annotations

import random

from dfa_tl.tasks.generators.sequences import NUMBERS
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Draw, Task

WORDS = ("zero", *NUMBERS)
MAX_SUM = 20
ADDITIONS = (
    "The sum of {a} and {b} is {c}.",
    "Adding {a} to {b} gives {c}.",
    "If you have {a} coins and get {b} more, the number of your coins is {c}.",
)
SUBTRACTIONS = (
    "Taking {b} from {c} leaves {a}.",
    "Subtracting {b} from {c} gives {a}.",
    "If you have {c} coins and lose {b} of them, the number of coins left is {a}.",
)


def _arithmetic(topic: str, templates: tuple[str, ...], result: str) -> Draw:
    """Problems a + b = c that ask for `result`, the last field of each template."""

    def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
        template = rng.choice(templates)
        problems: list[dict[str, str]] = []
        while len(problems) < 4:
            c = rng.randint(2, MAX_SUM)
            a = rng.randint(1, c - 1)
            problem = {"a": WORDS[a], "b": WORDS[c - a], "c": WORDS[c]}
            is_new = all(problem[x] != other[x] for other in problems for x in problem)
            if is_new and allowed(f"{topic} {sorted((a, c - a))}"):
                problems.append(problem)
        *examples, clean, corrupt = problems
        lead = "".join(f"{template.format(**example)} " for example in examples)
        question = lead + template.removesuffix(f" {{{result}}}.")
        return PromptPair(
            question.format(**clean),
            question.format(**corrupt),
            f" {clean[result]}",
            f" {corrupt[result]}",
        )

    return draw


REFERENCE = (
    "Stolfo et al. 2023, A Mechanistic Interpretation of Arithmetic Reasoning in Language Models "
    "Using Causal Mediation Analysis; Mueller et al. 2025, MIB"
)
TASKS = (
    Task(
        "addition_english",
        "arithmetic",
        _arithmetic("add", ADDITIONS, "c"),
        "The sum of two number words; the corrupt prompt has other numbers.",
        REFERENCE,
        changed_words=(2,),
    ),
    Task(
        "subtraction_english",
        "arithmetic",
        _arithmetic("subtraction", SUBTRACTIONS, "a"),
        "The difference of two number words; the corrupt prompt has other numbers.",
        REFERENCE,
        changed_words=(2,),
    ),
)
