"""Well-known people: where they were from, and what they are known as."""

from __future__ import annotations

from dfa_tl.tasks.generators.relations import facts, swapped_relation
from dfa_tl.tasks.task import Task

PEOPLE = facts("people")

TASKS = (
    Task(
        "person_country",
        "people",
        swapped_relation(
            "people",
            [(name, country) for name, country, _ in PEOPLE],
            "As every student knows,|{x} came from {y}",
            "The book says that|{x} was from {y}",
            "At school we learned that|{x} came from {y}",
        ),
        "The country of a person; the corrupt prompt states this one and asks for another.",
        "Meng et al. 2022, Locating and Editing Factual Associations in GPT; Geva et al. 2023, "
        "Dissecting Recall of Factual Associations in Auto-Regressive Language Models",
        changed_words=(),
    ),
    Task(
        "person_profession",
        "people",
        swapped_relation(
            "people",
            [(name, work) for name, _, work in PEOPLE if work[0] not in "aeiou"],
            "As every student knows,|{x} is famous as a {y}",
            "The book says that|{x} is known as a {y}",
            "In the encyclopedia,|{x} is described as a {y}",
        ),
        "What a person is known as; the corrupt prompt states this one and asks for another.",
        "Hernandez et al. 2024, Linearity of Relation Decoding in Transformer Language Models",
        changed_words=(),
    ),
)
