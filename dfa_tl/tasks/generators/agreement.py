"""Number agreement of a verb with its subject, and of a noun with its determiner.

The corrupt prompt changes the number of the subject (or of the determiner) and nothing else. A noun
belongs to one split as the subject; nouns between subject and verb come from everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from dfa_tl.tasks.generators.words import NAMES
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Draw, Task

SUBJECTS = tuple(
    "author teacher doctor farmer lawyer student singer writer artist soldier driver worker "
    "manager officer engineer scientist guard dancer pilot actor king friend neighbor boy girl "
    "brother sister nurse poet chef judge player guest visitor tourist customer prince "
    "hunter senator minister professor editor reporter cousin client".split()
)
THINGS = tuple(
    "key table picture car house road tree book window door bridge boat lamp chair flower ship "
    "garden building street wall letter cup phone ticket map ring coin bottle hat shirt gift "
    "ball camera computer guitar towel mirror".split()
)
ADJECTIVES = "young old tall famous clever busy tired brave quiet friendly angry happy".split()
NOW = ("At the moment,", "These days,", "Right now,", "As we all know,", "According to the report,")
THEN = ("Last year,", "Yesterday,", "A long time ago,", "Until last week,", "In those days,")
LOCATIONS = "car house tree building bridge boat wall table window street garden door".split()
PREPOSITIONS = ("near", "behind", "next to", "in front of")
HELPED = "met helped saw liked followed visited called thanked".split()


def _simple(rng: random.Random) -> str:
    return f"the {rng.choice(ADJECTIVES)} {{subject}}"


def _prepositional(rng: random.Random) -> str:
    location = f"{rng.choice(LOCATIONS)}{rng.choice(('', 's'))}"
    return f"the {{subject}} {rng.choice(PREPOSITIONS)} the {location}"


def _relative(rng: random.Random) -> str:
    other, verb = f"the {rng.choice(SUBJECTS)}{rng.choice(('', 's'))}", rng.choice(HELPED)
    return f"the {{subject}} {rng.choice((f'that {other} {verb}', f'who {verb} {other}'))}"


def _subject_verb(phrase: Callable[[random.Random], str]) -> Draw:
    """A clause up to its verb, which is a form of `be`."""

    def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
        subject = rng.choice([noun for noun in SUBJECTS if allowed(f"subjects {noun}")])
        begins, verbs = rng.choice(((NOW, (" is", " are")), (THEN, (" was", " were"))))
        prompt = f"{rng.choice(begins)} {phrase(rng)}"
        numbers = [0, 1]
        rng.shuffle(numbers)
        clean, corrupt = (prompt.format(subject=subject + "s" * number) for number in numbers)
        answer, wrong_answer = (verbs[number] for number in numbers)
        return PromptPair(clean, corrupt, answer, wrong_answer)

    return draw


DETERMINERS = (("this", "these"), ("that", "those"))
TAKES = ("picked up", "looked at", "wants to buy", "has always liked", "asked for", "came with")


def draw_determiner_noun(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair; who it is about belongs to the split."""
    name = rng.choice([name for name in NAMES if allowed(f"determiner {name}")])
    forms, thing = rng.choice(DETERMINERS), rng.choice(THINGS)
    begin = f"{rng.choice((*NOW, *THEN))} {name} {rng.choice(TAKES)}"
    numbers = [0, 1]
    rng.shuffle(numbers)
    first, second = numbers
    return PromptPair(
        f"{begin} {forms[first]}",
        f"{begin} {forms[second]}",
        f" {thing}{'s' * first}",
        f" {thing}{'s' * second}",
    )


_LINZEN = (
    "Linzen et al. 2016, Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies"
)
_MARVIN = "Marvin and Linzen 2018, Targeted Syntactic Evaluation of Language Models"
_FINLAYSON = "Finlayson et al. 2021, Causal Analysis of Syntactic Agreement Mechanisms"

TASKS = (
    Task(
        "sva_simple",
        "agreement",
        _subject_verb(_simple),
        "A form of be after its subject; the corrupt prompt has the other number of the subject.",
        f"{_LINZEN}; {_MARVIN}",
    ),
    Task(
        "sva_prepositional",
        "agreement",
        _subject_verb(_prepositional),
        "The same with a prepositional phrase, of either number, between subject and verb.",
        f"{_LINZEN}; {_FINLAYSON}",
    ),
    Task(
        "sva_relative",
        "agreement",
        _subject_verb(_relative),
        "The same with a relative clause, of either number, between subject and verb.",
        f"{_MARVIN}; Marks et al. 2025, Sparse Feature Circuits",
    ),
    Task(
        "determiner_noun",
        "agreement",
        draw_determiner_noun,
        "A noun after this, these, that or those; the corrupt prompt has the other number.",
        "Warstadt et al. 2020, BLiMP: The Benchmark of Linguistic Minimal Pairs",
    ),
)
