"""The last letter of a three-letter acronym.

The corrupt prompt has another last word. An organisation belongs to one split.
"""

from __future__ import annotations

import random

from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Task

FIRST = (
    "National World Global Central Royal American European International Public Federal United "
    "General Modern Northern Southern"
).split()
SECOND = (
    "Energy Health Trade Water Space Science Sports Music Police Media Family Weather Traffic Food "
    "Data Labor Defense Security Research Justice"
).split()
THIRD = (
    "Network Organization Council Bureau Agency Institute League Group Office Society Team Fund "
    "Museum University Project Review Journal Library"
).split()
TEMPLATES = (
    "The {name} is known as the {short}.",
    "People call the {name} the {short}.",
    "The short form of {name} is {short}.",
)


def _organisation(rng: random.Random, allowed: Allowed) -> list[str]:
    while True:
        words = [rng.choice(pool) for pool in (FIRST, SECOND, THIRD)]
        if allowed(f"acronym {words}"):
            return words


def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair after an example; all organisations belong to the split."""
    shown, clean = _organisation(rng, allowed), _organisation(rng, allowed)
    thirds = [
        word
        for word in THIRD
        if word[0] != clean[2][0] and allowed(f"acronym {[*clean[:2], word]}")
    ]
    if not thirds:
        return draw(rng, allowed)
    corrupt = [*clean[:2], rng.choice(thirds)]
    template = rng.choice(TEMPLATES)

    def sentence(words: list[str]) -> str:
        return template.format(name=" ".join(words), short=" ".join(word[0] for word in words))

    lead = f"{sentence(shown)} "
    return PromptPair(
        f"{lead}{sentence(clean)[:-3]}",
        f"{lead}{sentence(corrupt)[:-3]}",
        f" {clean[2][0]}",
        f" {corrupt[2][0]}",
    )


TASKS = (
    Task(
        "acronyms",
        "acronyms",
        draw,
        "The last letter of an acronym, spelled with spaces; the corrupt prompt has another last "
        "word.",
        "García-Carrasco et al. 2024, How Does GPT-2 Predict Acronyms?",
    ),
)
