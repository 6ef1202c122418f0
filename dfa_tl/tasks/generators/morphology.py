"""Inflection: plurals, past tenses and comparatives, regular and irregular."""

from __future__ import annotations

from dfa_tl.tasks.generators.relations import facts, relation
from dfa_tl.tasks.task import Task

PLURALS = facts("plurals")
PASTS = facts("past_tenses")
COMPARATIVES = facts("comparatives")

TASKS = (
    Task(
        "plural",
        "inflection",
        relation(
            "plurals",
            PLURALS,
            "First there was one {x}, and then there were two {y}.",
            "The plural of {x} is {y}.",
            "You may see a single {x} or many {y}.",
        ),
        "The plural of a noun; the corrupt prompt has another noun.",
        "Todd et al. 2024, Function Vectors in Large Language Models",
    ),
    Task(
        "past_tense",
        "inflection",
        relation(
            "tense",
            PASTS,
            "Today they {x}, just as yesterday they {y}.",
            "The past tense of {x} is {y}.",
            "Every day we {x}, and last week we also {y}.",
        ),
        "The past tense of a verb; the corrupt prompt has another verb.",
        "Todd et al. 2024, Function Vectors in Large Language Models",
    ),
    Task(
        "comparative",
        "inflection",
        relation(
            "comparative",
            COMPARATIVES,
            "This one is {x}, but that one is even {y}.",
            "The comparative of {x} is {y}.",
            "It was {x} before, and now it is {y}.",
        ),
        "The comparative of an adjective; the corrupt prompt has another adjective.",
        "Hernandez et al. 2024, Linearity of Relation Decoding in Transformer Language Models",
    ),
)
