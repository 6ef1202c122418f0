"""ARC-like multiple choice: the answer takes a fact that only the weights hold.

`easy` asks one hop (an animal's habitat, or a habitat's weather), `challenge` two hops (the weather
where an animal lives).
"""

from __future__ import annotations

import random

from dfa_tl.tasks.generators import choices
from dfa_tl.tasks.generators.generate import Allowed
from dfa_tl.tasks.generators.vocabulary import HABITAT, WEATHER, words_of
from dfa_tl.tasks.prompt_pair import PromptPair

HABITAT_QUESTION = "Where does a {animal} live ?"
WEATHER_QUESTION = "What is the weather in the {habitat} ?"
TWO_HOP_QUESTION = "What is the weather at the home of a {animal} ?"

_HABITATS = tuple(WEATHER)
_WEATHERS = tuple(WEATHER.values())
WORDS = (
    words_of((HABITAT_QUESTION, WEATHER_QUESTION, TWO_HOP_QUESTION))
    | {*HABITAT, *_HABITATS, *_WEATHERS}
    | choices.WORDS
)


def draw_easy(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair about a one-hop fact; question and ordered choices belong to the split."""
    while True:
        if rng.random() < 0.5:
            animal = rng.choice(tuple(HABITAT))
            question, right = HABITAT_QUESTION.format(animal=animal), HABITAT[animal]
            listed = choices.options(rng, right, _HABITATS)
        else:
            habitat = rng.choice(_HABITATS)
            question, right = WEATHER_QUESTION.format(habitat=habitat), WEATHER[habitat]
            listed = choices.options(rng, right, _WEATHERS)
        if allowed(f"arc {question} {listed}"):
            return choices.lettered_pair(rng, question, listed, right)


def draw_challenge(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair about a two-hop fact; question and ordered choices belong to the split."""
    while True:
        animal = rng.choice(tuple(HABITAT))
        question, right = TWO_HOP_QUESTION.format(animal=animal), WEATHER[HABITAT[animal]]
        listed = choices.options(rng, right, _WEATHERS)
        if allowed(f"arc {question} {listed}"):
            return choices.lettered_pair(rng, question, listed, right)
