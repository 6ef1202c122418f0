"""Which of two years is the later one.

The corrupt prompt exchanges the two years. A set of two years belongs to one split.
"""

from __future__ import annotations

import random

from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Task

YEARS = range(1100, 2000)
MIN_DIFFERENCE = 30
# A sentence, and its last word for a second year after and before the first.
TEMPLATES = (
    ("Compared with the year {0}, the year {1} is {label}.", ("later", "earlier")),
    ("Going from the year {0} to the year {1} means going {label}.", ("forward", "back")),
)


def _years(rng: random.Random, allowed: Allowed) -> list[int]:
    """An earlier and a later year."""
    while True:
        years = sorted(rng.sample(YEARS, 2))
        if years[1] - years[0] >= MIN_DIFFERENCE and allowed(f"years {years}"):
            return years


def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair after an example of each order; all years belong to the split."""
    template, labels = rng.choice(TEMPLATES)
    orders = [rng.sample((0, 1), 2) for _ in range(2)]

    def sentence(years: list[int], order: int) -> str:
        return template.format(*(years if order == 0 else years[::-1]), label=labels[order])

    lead = " ".join(sentence(_years(rng, allowed), order) for order in orders[0])
    years = _years(rng, allowed)
    clean, corrupt = (
        f"{lead} {sentence(years, order)}".removesuffix(f" {labels[order]}.") for order in orders[1]
    )
    answer, wrong_answer = (f" {labels[order]}" for order in orders[1])
    return PromptPair(clean, corrupt, answer, wrong_answer)


TASKS = (
    Task(
        "greater_than_years",
        "comparison",
        draw,
        "Whether a year is later or earlier than another; the corrupt prompt exchanges the two.",
        "Hanna et al. 2023, How Does GPT-2 Compute Greater-Than?",
        changed_words=(2,),
    ),
)
