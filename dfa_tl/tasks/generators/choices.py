"""Multiple choice in the form of the benchmarks: a question, four lettered lines, the letter.

The corrupt prompt exchanges the right choice with a wrong one. A question that takes knowledge
belongs to one split, and so does a stated thing with its colour and the choices.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from dfa_tl.tasks.generators.geography import CAPITALS
from dfa_tl.tasks.generators.lexical import EITHER_WAY, HYPERNYMS
from dfa_tl.tasks.generators.relations import Fact, fact_key
from dfa_tl.tasks.generators.words import COLORS, OBJECTS
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Task

LETTERS = "ABCD"
COLOR_QUESTION = "The {thing} is {color}. What color is the {thing}?"
QUESTIONS: tuple[tuple[str, Sequence[Fact], str], ...] = (
    ("capital of", CAPITALS, "What is the capital of {x}?"),
    ("antonym", EITHER_WAY, "What is the opposite of {x}?"),
    ("hypernym", HYPERNYMS, "Which kind of thing is meant by the word {x}?"),
)


def _pair(rng: random.Random, question: str, right: str, wrong: Sequence[str]) -> PromptPair:
    choices = [right, *wrong]
    rng.shuffle(choices)
    index = choices.index(right)
    other = rng.choice([i for i in range(len(LETTERS)) if i != index])

    def prompt() -> str:
        listed = "".join(f"{letter}. {c}\n" for letter, c in zip(LETTERS, choices, strict=True))
        return f"Question: {question}\n{listed}Answer:"

    clean = prompt()
    choices[index], choices[other] = choices[other], choices[index]
    return PromptPair(clean, prompt(), f" {LETTERS[index]}", f" {LETTERS[other]}")


def draw_stated(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair about a colour that the question states."""
    while True:
        thing, colors = rng.choice(OBJECTS), rng.sample(COLORS, len(LETTERS))
        if allowed(f"choices {thing} {colors[0]} {sorted(colors)}"):
            question = COLOR_QUESTION.format(thing=thing, color=colors[0])
            return _pair(rng, question, colors[0], colors[1:])


def draw_known(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair about a fact that only the weights hold."""
    topic, facts, question = rng.choice(QUESTIONS)
    x, right = rng.choice([fact for fact in facts if allowed(fact_key(topic, fact))])
    others = sorted({answer for _, answer in facts} - {x, right})
    return _pair(rng, question.format(x=x), right, rng.sample(others, len(LETTERS) - 1))


TASKS = (
    Task(
        "mcqa_english",
        "multiple-choice",
        draw_stated,
        "The letter of a colour that is stated; the corrupt prompt exchanges two choices.",
        "Wiegreffe et al. 2025, Answer, Assemble, Ace: Understanding How LMs Answer Multiple "
        "Choice Questions; Mueller et al. 2025, MIB",
        changed_words=(2,),
    ),
    Task(
        "arc_english",
        "multiple-choice",
        draw_known,
        "The letter of a known fact; the corrupt prompt exchanges two choices.",
        "Clark et al. 2018, Think you have Solved Question Answering? Try ARC; Mueller et al. "
        "2025, MIB",
        changed_words=(2,),
    ),
)
