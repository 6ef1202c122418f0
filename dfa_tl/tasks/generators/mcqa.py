"""Copying multiple choice: the colour is stated in the prompt, the answer is its letter."""

from __future__ import annotations

import random

from dfa_tl.tasks.generators import choices
from dfa_tl.tasks.generators.generate import Allowed
from dfa_tl.tasks.generators.vocabulary import COLORS, OBJECTS, words_of
from dfa_tl.tasks.prompt_pair import PromptPair

TEMPLATE = "The {object} is {color} . What color is the {object} ?"
WORDS = words_of((TEMPLATE,)) | {*COLORS, *OBJECTS} | choices.WORDS


def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair whose object, colour and ordered choices belong to the split."""
    while True:
        thing, color = rng.choice(OBJECTS), rng.choice(COLORS)
        listed = choices.options(rng, color, COLORS)
        if allowed(f"mcqa {thing} {color} {listed}"):
            break
    return choices.lettered_pair(rng, TEMPLATE.format(object=thing, color=color), listed, color)
