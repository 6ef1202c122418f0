"""Indirect object identification: which of two names receives an object.

The corrupt prompt has the indirect object in place of the repeated name, which makes the wrong
answer the right one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from dfa_tl.tasks.generators.words import NAMES, OBJECTS, PLACES
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Draw, Task

TEMPLATES = (
    "When {a} and {b} went to the {place}, {s} gave a {object} to",
    "After {a} and {b} left the {place}, {s} decided to give the {object} to",
    "While {a} and {b} were working at the {place}, {s} handed a {object} to",
    "Then {a} and {b} had a long talk at the {place}. Afterwards, {s} sent a {object} to",
)


def ioi(
    templates: Sequence[str], names: Sequence[str], places: Sequence[str], objects: Sequence[str]
) -> Draw:
    """Pairs whose unordered names, place, object and template belong to the split."""

    def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
        while True:
            template = rng.randrange(len(templates))
            a, b = rng.sample(names, 2)
            place, thing = rng.choice(places), rng.choice(objects)
            if allowed(f"ioi {template} {sorted((a, b))} {place} {thing}"):
                break
        subject, indirect = rng.sample((a, b), 2)
        clean, corrupt = (
            templates[template].format(a=a, b=b, s=s, place=place, object=thing)
            for s in (subject, indirect)
        )
        return PromptPair(clean, corrupt, f" {indirect}", f" {subject}")

    return draw


TASKS = (
    Task(
        "ioi_english",
        "ioi",
        ioi(TEMPLATES, NAMES, PLACES, OBJECTS),
        "Which of two people receives an object; the corrupt prompt has the other as the giver.",
        "Wang et al. 2023, Interpretability in the Wild: a Circuit for Indirect Object "
        "Identification in GPT-2 Small",
    ),
)
