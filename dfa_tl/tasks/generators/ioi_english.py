"""Indirect object identification in ordinary English, with the names of `words`.

The corrupt prompt flips the second name (subject) to the indirect object, as the toy task does.
"""

from __future__ import annotations

import random

from dfa_tl.tasks.generators.generate import Allowed
from dfa_tl.tasks.generators.record import BatteryTask
from dfa_tl.tasks.generators.words import NAMES, OBJECTS, PLACES
from dfa_tl.tasks.pairs import PromptPair

TEMPLATES = (
    "When {a} and {b} went to the {place}, {s} gave a {object} to",
    "After {a} and {b} left the {place}, {s} decided to give the {object} to",
    "While {a} and {b} were working at the {place}, {s} handed a {object} to",
    "Then {a} and {b} had a long talk at the {place}. Afterwards, {s} sent a {object} to",
)


def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair whose unordered names, place, object and template belong to the split."""
    while True:
        template = rng.randrange(len(TEMPLATES))
        a, b = rng.sample(NAMES, 2)
        place, thing = rng.choice(PLACES), rng.choice(OBJECTS)
        if allowed(f"ioi {template} {sorted((a, b))} {place} {thing}"):
            break
    subject, indirect = rng.sample((a, b), 2)
    fields = {"a": a, "b": b, "place": place, "object": thing}
    text = TEMPLATES[template]
    return PromptPair(
        clean=text.format(s=subject, **fields),
        corrupt=text.format(s=indirect, **fields),
        answer=f" {indirect}",
        wrong_answer=f" {subject}",
    )


TASKS = (
    BatteryTask(
        "ioi_english",
        "ioi",
        draw,
        "Which of two people receives an object; the corrupt prompt has the other as the giver.",
        "Wang et al. 2023, Interpretability in the Wild: a Circuit for Indirect Object "
        "Identification in GPT-2 Small",
    ),
)
