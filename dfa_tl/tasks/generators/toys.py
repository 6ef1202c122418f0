"""The six tasks in the words of `toy_vocabulary`, which the bundled models solve.

IOI asks which of two names receives an object. The corrupt prompt repeats the other name, as the
`s2_io_flip` pairs of the Mechanistic Interpretability Benchmark do.

Multiple choice asks for the letter of one of four choices. MCQA states the fact in the prompt,
ARC-easy takes one fact that only the weights hold, ARC-challenge two. The corrupt prompt keeps the
question and the choices and has four other letters, as the benchmark's `symbol_counterfactual`
pairs do.

Arithmetic asks for a + b, or for its inverse, (a + b) - b. The corrupt prompt has other operands
and another result.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from dfa_tl.tasks.generators.ioi import ioi
from dfa_tl.tasks.generators.toy_vocabulary import (
    COLORS,
    HABITAT,
    LETTERS,
    MAX_OPERAND,
    NAMES,
    NUMBERS,
    OBJECTS,
    PLACES,
    WEATHER,
    words_of,
)
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Draw, Task

IOI_TEMPLATES = (
    "When {a} and {b} went to the {place} , {s} gave a {object} to",
    "Then {a} and {b} had fun at the {place} and {s} sent a {object} to",
    "After {a} and {b} met at the {place} , {s} passed a {object} to",
)
N_CHOICES = 4
ENDING = "Answer :"
COLOR_QUESTION = "The {object} is {color} . What color is the {object} ?"
HABITAT_QUESTION = "Where does a {animal} live ?"
WEATHER_QUESTION = "What is the weather in the {habitat} ?"
TWO_HOP_QUESTION = "What is the weather at the home of a {animal} ?"

ANIMALS = tuple(HABITAT)
HABITATS = tuple(WEATHER)
WEATHERS = tuple(WEATHER.values())


def _choices(rng: random.Random, right: str, pool: Sequence[str]) -> list[str]:
    """The right choice among three wrong ones of `pool`, in random order."""
    chosen = [right, *rng.sample([word for word in pool if word != right], N_CHOICES - 1)]
    rng.shuffle(chosen)
    return chosen


def _lettered_pair(
    rng: random.Random, question: str, choices: Sequence[str], right: str
) -> PromptPair:
    """A pair that asks `question`, its choices under four letters and under four others."""
    letters = rng.sample(LETTERS, 2 * N_CHOICES)
    clean, corrupt = letters[:N_CHOICES], letters[N_CHOICES:]

    def prompt(labels: Sequence[str]) -> str:
        lines = (f"{label} {choice}" for label, choice in zip(labels, choices, strict=True))
        return f"{question} {' '.join(lines)} {ENDING}"

    index = choices.index(right)
    return PromptPair(prompt(clean), prompt(corrupt), f" {clean[index]}", f" {corrupt[index]}")


def draw_mcqa(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair; the object, its colour and the ordered choices belong to the split."""
    while True:
        thing, color = rng.choice(OBJECTS), rng.choice(COLORS)
        choices = _choices(rng, color, COLORS)
        if allowed(f"mcqa {thing} {color} {choices}"):
            question = COLOR_QUESTION.format(object=thing, color=color)
            return _lettered_pair(rng, question, choices, color)


def draw_arc_easy(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair about a one-hop fact; the question and the ordered choices belong to the split."""
    while True:
        if rng.random() < 0.5:
            animal = rng.choice(ANIMALS)
            question, right = HABITAT_QUESTION.format(animal=animal), HABITAT[animal]
            choices = _choices(rng, right, HABITATS)
        else:
            habitat = rng.choice(HABITATS)
            question, right = WEATHER_QUESTION.format(habitat=habitat), WEATHER[habitat]
            choices = _choices(rng, right, WEATHERS)
        if allowed(f"arc {question} {choices}"):
            return _lettered_pair(rng, question, choices, right)


def draw_arc_challenge(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair about a two-hop fact; the question and the ordered choices belong to the split."""
    while True:
        animal = rng.choice(ANIMALS)
        question, right = TWO_HOP_QUESTION.format(animal=animal), WEATHER[HABITAT[animal]]
        choices = _choices(rng, right, WEATHERS)
        if allowed(f"arc {question} {choices}"):
            return _lettered_pair(rng, question, choices, right)


def _addition(a: int, b: int) -> tuple[str, str, int]:
    return f"add {sorted((a, b))}", f"{a} + {b} =", a + b


def _subtraction(a: int, b: int) -> tuple[str, str, int]:
    return f"subtract {a + b} {b}", f"{a + b} - {b} =", a


def _arithmetic(problem: Callable[[int, int], tuple[str, str, int]]) -> Draw:
    """Problems of the split; `problem` gives the key, the prompt and the result of two operands."""

    def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
        def allowed_problem() -> tuple[str, int]:
            while True:
                a, b = rng.randint(0, MAX_OPERAND), rng.randint(0, MAX_OPERAND)
                key, prompt, result = problem(a, b)
                if allowed(key):
                    return prompt, result

        clean, answer = corrupt, other = allowed_problem()
        while other == answer:
            corrupt, other = allowed_problem()
        return PromptPair(clean, corrupt, f" {answer}", f" {other}")

    return draw


_CHOICE_WORDS = words_of(ENDING) | {*LETTERS}
_ARC_QUESTIONS = (HABITAT_QUESTION, WEATHER_QUESTION, TWO_HOP_QUESTION)
_ARC_WORDS = words_of(*_ARC_QUESTIONS) | _CHOICE_WORDS | {*ANIMALS, *HABITATS, *WEATHERS}
TASKS = (
    Task(
        "ioi",
        "ioi",
        ioi(IOI_TEMPLATES, NAMES, PLACES, OBJECTS),
        "Which of two names receives an object; the corrupt prompt repeats the other name.",
        "Wang et al. 2023, arXiv 2211.00593",
        words=words_of(*IOI_TEMPLATES) | {*NAMES, *PLACES, *OBJECTS},
    ),
    Task(
        "mcqa",
        "multiple-choice",
        draw_mcqa,
        "The letter of a choice that the prompt states; the corrupt prompt has other letters.",
        "Wiegreffe et al. 2025, arXiv 2407.15018",
        words=words_of(COLOR_QUESTION) | _CHOICE_WORDS | {*COLORS, *OBJECTS},
        changed_words=(N_CHOICES,),
    ),
    Task(
        "arithmetic_addition",
        "arithmetic",
        _arithmetic(_addition),
        "The sum of two numbers; the corrupt prompt has other numbers.",
        "Stolfo et al. 2023, arXiv 2305.15054",
        related=("arithmetic_subtraction",),
        words=frozenset({"+", "=", *NUMBERS}),
        changed_words=(1, 2),
    ),
    Task(
        "arithmetic_subtraction",
        "arithmetic",
        _arithmetic(_subtraction),
        "The difference of two numbers; the corrupt prompt has other numbers.",
        "Stolfo et al. 2023, arXiv 2305.15054",
        related=("arithmetic_addition",),
        words=frozenset({"-", "=", *NUMBERS}),
        changed_words=(1, 2),
    ),
    Task(
        "arc_easy",
        "multiple-choice",
        draw_arc_easy,
        "The letter of the choice that one known fact gives; the corrupt prompt has other letters.",
        "after Clark et al. 2018, arXiv 1803.05457",
        related=("arc_challenge",),
        words=_ARC_WORDS,
        changed_words=(N_CHOICES,),
    ),
    Task(
        "arc_challenge",
        "multiple-choice",
        draw_arc_challenge,
        "The letter of the choice that two known facts together give; the corrupt prompt has other "
        "letters.",
        "after Clark et al. 2018, arXiv 1803.05457",
        related=("arc_easy",),
        words=_ARC_WORDS,
        changed_words=(N_CHOICES,),
    ),
)
