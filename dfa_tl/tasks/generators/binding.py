"""Finding in the prompt what belongs to a thing: its colour, or its owner.

The corrupt prompt asks about another of the three things. The three things with what belongs to
them belong to one split.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from dfa_tl.tasks.generators.words import COLORS, NAMES, OBJECTS, with_article
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Task

COLOR_TEMPLATES = (
    "On the table I see {0}, {1} and {2}. The color of the {asked} is",
    "In the room there is {0}, {1} and {2}. What is the color of the {asked}? It is",
    "My friend bought {0}, {1} and {2}. The {asked} is",
)
OWNER_TEMPLATES = (
    "{0}, {1} and {2}. The {asked} belongs to",
    "In this story, {0}, {1} and {2}. The owner of the {asked} is",
    "We know that {0}, {1} and {2}. If you want to borrow the {asked}, you should ask",
)


def _draw(
    rng: random.Random,
    things: Sequence[str],
    values: Sequence[str],
    phrases: Sequence[str],
    template: str,
) -> PromptPair:
    asked, other = rng.sample(range(3), 2)
    return PromptPair(
        template.format(*phrases, asked=things[asked]),
        template.format(*phrases, asked=things[other]),
        f" {values[asked]}",
        f" {values[other]}",
    )


def draw_colors(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair about the colours of three things."""
    while True:
        things, colors = rng.sample(OBJECTS, 3), rng.sample(COLORS, 3)
        if allowed(f"colors {sorted(zip(things, colors, strict=True))}"):
            break
    phrases = [with_article(f"{c} {thing}") for c, thing in zip(colors, things, strict=True)]
    return _draw(rng, things, colors, phrases, rng.choice(COLOR_TEMPLATES))


def draw_owners(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair about the owners of three things."""
    while True:
        things, names = rng.sample(OBJECTS, 3), rng.sample(NAMES, 3)
        if allowed(f"owners {sorted(zip(things, names, strict=True))}"):
            break
    phrases = [f"{name} has a {thing}" for name, thing in zip(names, things, strict=True)]
    return _draw(rng, things, names, phrases, rng.choice(OWNER_TEMPLATES))


TASKS = (
    Task(
        "colored_objects",
        "binding",
        draw_colors,
        "The colour of one of three things; the corrupt prompt asks about another.",
        "Srivastava et al. 2023, Beyond the Imitation Game (reasoning about colored objects); "
        "Merullo et al. 2024, Circuit Component Reuse Across Tasks in Transformer Language Models",
    ),
    Task(
        "object_owner",
        "binding",
        draw_owners,
        "The owner of one of three things; the corrupt prompt asks about another.",
        "Feng and Steinhardt 2024, How Do Language Models Bind Entities in Context?; Prakash et "
        "al. 2024, Fine-Tuning Enhances Existing Mechanisms",
    ),
)
