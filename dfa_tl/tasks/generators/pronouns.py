"""Pronouns that agree with the gender of a name.

The corrupt prompt has a name of the other gender. A name belongs to one split.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from dfa_tl.tasks.generators.words import MEN, OBJECTS, PLACES, WOMEN
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Draw, Task

SUBJECT_TEMPLATES = (
    "Yesterday {name} went to the {place} because",
    "When {name} lost the {object},",
    "After {name} came home from the {place},",
    "I met {name} at the {place}, and",
    "So {name} is a really great friend, isn't",
    "The neighbors like {name} because",
    "Before {name} bought the {object},",
)
REFLEXIVE_TEMPLATES = (
    "Looking in the mirror at the {place}, {name} saw",
    "On a visit to the {place}, {name} bought a {object} for",
    "After losing the {object}, {name} was angry with",
    "Before going to the {place}, {name} washed",
    "At the {place}, {name} stood up and introduced",
    "Because of the broken {object}, {name} blamed",
)


def _gendered(templates: Sequence[str], masculine: str, feminine: str) -> Draw:
    def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
        names = [
            rng.choice([name for name in group if allowed(f"name {name}")])
            for group in (MEN, WOMEN)
        ]
        text, place, thing = rng.choice(templates), rng.choice(PLACES), rng.choice(OBJECTS)
        sides = [
            (text.format(name=name, place=place, object=thing), f" {pronoun}")
            for name, pronoun in zip(names, (masculine, feminine), strict=True)
        ]
        rng.shuffle(sides)
        (clean, answer), (corrupt, wrong_answer) = sides
        return PromptPair(clean, corrupt, answer, wrong_answer)

    return draw


TASKS = (
    Task(
        "gender_pronoun",
        "pronouns",
        _gendered(SUBJECT_TEMPLATES, "he", "she"),
        "He or she for a name; the corrupt prompt has a name of the other gender.",
        "Mathwin et al. 2023, Identifying a Preliminary Circuit for Predicting Gendered Pronouns "
        "in GPT-2 Small; Vig et al. 2020, Investigating Gender Bias in Language Models Using "
        "Causal Mediation Analysis",
    ),
    Task(
        "reflexive_pronoun",
        "pronouns",
        _gendered(REFLEXIVE_TEMPLATES, "himself", "herself"),
        "Himself or herself for a name; the corrupt prompt has a name of the other gender.",
        "Marvin and Linzen 2018, Targeted Syntactic Evaluation of Language Models; Warstadt et al. "
        "2020, BLiMP: The Benchmark of Linguistic Minimal Pairs",
    ),
)
