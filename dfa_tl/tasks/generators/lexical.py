"""Relations between words: the class of a thing, and opposites."""

from __future__ import annotations

from dfa_tl.tasks.generators.relations import facts, relation
from dfa_tl.tasks.task import Task

HYPERNYMS = facts("hypernyms")
OPPOSITES = facts("opposites")
EITHER_WAY = OPPOSITES + tuple((y, x) for x, y in OPPOSITES)

TASKS = (
    Task(
        "hypernyms",
        "word-relations",
        relation(
            "hypernym",
            HYPERNYMS,
            "The word {x} names a kind of {y}.",
            "We all know that {x} is a type of {y}.",
            "On the list, {x} is in the class {y}.",
            n_examples=3,
        ),
        "The class of a thing; the corrupt prompt names a thing of another class.",
        "Hearst 1992, Automatic Acquisition of Hyponyms from Large Text Corpora; Ettinger 2020, "
        "What BERT Is Not",
    ),
    Task(
        "antonyms",
        "word-relations",
        relation(
            "antonym",
            EITHER_WAY,
            "The opposite of {x} is {y}.",
            "The word {x} means the opposite of {y}.",
            "Just the opposite of {x} would be {y}.",
        ),
        "The opposite of a word; the corrupt prompt gives another word.",
        "Todd et al. 2024, Function Vectors in Large Language Models",
    ),
)
