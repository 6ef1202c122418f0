"""Indirect object identification: which of two names receives the object.

The corrupt prompt flips the second name (subject) to the indirect object, which makes the wrong
answer the right one, as the Mechanistic Interpretability Benchmark's `s2_io_flip` pairs do.
"""

from __future__ import annotations

import random

from dfa_tl.tasks.generators.generate import Allowed
from dfa_tl.tasks.generators.vocabulary import NAMES, OBJECTS, PLACES, words_of
from dfa_tl.tasks.prompt_pair import PromptPair

TEMPLATES = (
    "When {a} and {b} went to the {place} , {s} gave a {object} to",
    "Then {a} and {b} had fun at the {place} and {s} sent a {object} to",
    "After {a} and {b} met at the {place} , {s} passed a {object} to",
)
WORDS = words_of(TEMPLATES) | {*NAMES, *PLACES, *OBJECTS}


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
