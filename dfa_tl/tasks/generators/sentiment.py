"""Whether a short review is positive or negative.

The corrupt prompt has an adjective of the other kind. An adjective belongs to one split.
"""

from __future__ import annotations

import random

from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Task

ADJECTIVES = {
    "positive": (
        "wonderful great excellent amazing fantastic good lovely beautiful brilliant perfect "
        "superb awesome delightful charming outstanding impressive pleasant magnificent incredible "
        "terrific splendid fabulous enjoyable remarkable stunning exceptional nice inspiring "
        "elegant fascinating memorable satisfying refreshing superior fun clever"
    ).split(),
    "negative": (
        "terrible awful horrible bad boring disappointing poor dreadful ugly nasty worthless "
        "ridiculous annoying stupid unpleasant frustrating horrific miserable weak tedious dull "
        "flawed painful shocking silly sad confusing disastrous embarrassing offensive "
        "uncomfortable useless"
    ).split(),
}
THINGS = (
    "movie film book song concert show play game story album novel performance speech lecture "
    "comedy drama trip party"
).split()
TEMPLATES = (
    "Review: The {thing} was {adjective}. Sentiment: {label}.",
    "I thought that the {thing} was {adjective}, so my review was {label}.",
    "People who say the {thing} was {adjective} have an opinion that is {label}.",
)


def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair after an example of each kind; all adjectives belong to the split."""
    template, things = rng.choice(TEMPLATES), rng.sample(THINGS, 3)
    labels = rng.sample(tuple(ADJECTIVES), 2)
    asked, examples = {}, []
    for label, thing in zip(labels, things, strict=False):
        known = [word for word in ADJECTIVES[label] if allowed(f"tone {word}")]
        shown, asked[label] = rng.sample(known, 2)
        examples.append(template.format(thing=thing, adjective=shown, label=label))
    rng.shuffle(examples)
    question = template.removesuffix(" {label}.")
    clean, corrupt = (
        " ".join([*examples, question.format(thing=things[2], adjective=asked[label])])
        for label in labels
    )
    return PromptPair(clean, corrupt, f" {labels[0]}", f" {labels[1]}")


TASKS = (
    Task(
        "sentiment",
        "sentiment",
        draw,
        "The sentiment of a review; the corrupt prompt has an adjective of the other kind.",
        "Tigges et al. 2023, Linear Representations of Sentiment in Large Language Models",
    ),
)
