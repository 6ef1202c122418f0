"""Repeated random words: after a word comes what came after it before.

The corrupt prompt ends in another word of the list. The list belongs to one split.
"""

from __future__ import annotations

import random

from dfa_tl.tasks.generators.words import COLORS, OBJECTS, PLACES
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Task

WORDS = OBJECTS + PLACES + COLORS
N_WORDS = 8


def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair; the words in their order belong to the split."""
    while True:
        words = rng.sample(WORDS, N_WORDS)
        if allowed(f"induction {words}"):
            break
    last = rng.randrange(2, N_WORDS - 1)
    other = rng.choice([i for i in range(N_WORDS - 1) if i not in (last - 1, last)])
    lead = " ".join([*words, *words[:last]])
    return PromptPair(
        f"{lead} {words[last]}",
        f"{lead} {words[other]}",
        f" {words[last + 1]}",
        f" {words[other + 1]}",
    )


TASKS = (
    Task(
        "induction",
        "induction",
        draw,
        "Random words, repeated in part; the corrupt prompt ends in another of them.",
        "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Olsson et al. "
        "2022, In-context Learning and Induction Heads",
    ),
)
