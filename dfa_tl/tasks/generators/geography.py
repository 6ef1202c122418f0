"""Countries, their capitals and languages, and where landmarks are."""

from __future__ import annotations

from dfa_tl.tasks.generators.relations import facts, relation, swapped_relation
from dfa_tl.tasks.task import Task

CAPITALS = facts("capitals")
LANGUAGES = facts("languages")
LANDMARKS = facts("landmarks")

TASKS = (
    Task(
        "country_capital",
        "geography",
        relation(
            "capital of",
            CAPITALS,
            "The capital of {x} is {y}.",
            "The capital city of {x} is called {y}.",
            "The government of {x} sits in {y}.",
            "In {x}, the capital city is {y}.",
            "If you want to see the capital of {x}, go to {y}.",
        ),
        "The capital of a country; the corrupt prompt names another country.",
        "Meng et al. 2022, Locating and Editing Factual Associations in GPT; Todd et al. 2024, "
        "Function Vectors in Large Language Models",
    ),
    Task(
        "capital_country",
        "geography",
        relation(
            "capital of",
            [(capital, country) for country, capital in CAPITALS],
            "The city of {x} is the capital of {y}.",
            "Everyone knows that {x} is the capital of {y}.",
            "If you visit {x}, you are in the capital of {y}.",
            "At school we learned that {x} is the capital of {y}.",
            "The embassy is in {x}, the capital of {y}.",
        ),
        "The country that a city is the capital of; the corrupt prompt names another city.",
        "Todd et al. 2024, Function Vectors in Large Language Models; Hernandez et al. 2024, "
        "Linearity of Relation Decoding in Transformer Language Models",
    ),
    Task(
        "country_language",
        "geography",
        relation(
            "language",
            LANGUAGES,
            "Most people in {x} speak {y}.",
            "The main language of {x} is {y}.",
            "Children in {x} usually speak {y}.",
        ),
        "The main language of a country; the corrupt prompt names another country.",
        "Hernandez et al. 2024, Linearity of Relation Decoding in Transformer Language Models",
    ),
    Task(
        "landmark_country",
        "geography",
        swapped_relation(
            "sight",
            LANDMARKS,
            "As every traveler knows,|{x} is in {y}",
            "The guide told us that|{x} is located in {y}",
            "According to the map,|you can visit {x} in {y}",
        ),
        "The country of a landmark; the corrupt prompt states this one and asks for another.",
        "Meng et al. 2022, Locating and Editing Factual Associations in GPT",
        changed_words=(),
    ),
)
