"""Facts of the form x -> y, asked after some examples of the same relation.

A fact belongs to one split, whatever the examples around it, and a prompt holds facts of its own
split only: a model or a circuit that is tested on a fact has not been trained on it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Draw

FOLDER = Path(__file__).parent / "facts"

Fact = tuple[str, ...]
"""What is asked about, and the answer."""


def facts(name: str) -> tuple[Fact, ...]:
    """The facts of a file in `facts/`: one a line, its fields separated by colons."""
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split(":")) for line in lines)


def fact_key(topic: str, fact: Fact) -> str:
    """The key of a fact, which is that of the reverse fact as well."""
    return f"{topic} {sorted(fact)}"


def _sample(
    rng: random.Random, topic: str, facts: Sequence[Fact], n: int, allowed: Allowed
) -> list[Fact]:
    """Facts of the split, all with different answers."""
    known = [fact for fact in facts if allowed(fact_key(topic, fact))]
    while True:
        chosen = rng.sample(known, n)
        if len({answer for _, answer in chosen}) == n:
            return chosen


def relation(topic: str, facts: Sequence[Fact], *templates: str, n_examples: int = 2) -> Draw:
    """Ask for y given x; the corrupt prompt asks about another x after the same examples.

    Args:
        topic: Begins the keys of the facts.
        facts: The facts; each x is one word.
        templates: Sentences with `{x}`, and then `{y}` before the full stop.
        n_examples: How many complete sentences come first.
    """

    def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
        template = rng.choice(templates)
        clean, corrupt, *examples = _sample(rng, topic, facts, n_examples + 2, allowed)
        lead = "".join(f"{template.format(x=x, y=y)} " for x, y in examples)
        question = template.removesuffix(" {y}.")
        return PromptPair(
            clean=lead + question.format(x=clean[0]),
            corrupt=lead + question.format(x=corrupt[0]),
            answer=f" {clean[1]}",
            wrong_answer=f" {corrupt[1]}",
        )

    return draw


def swapped_relation(
    topic: str, facts: Sequence[Fact], *templates: str, n_examples: int = 1
) -> Draw:
    """Ask for y given an x of several words.

    The clean prompt states a fact and asks for another; the corrupt prompt states the other and
    asks for the first. So both have the same tokens however a tokenizer splits each x.

    Args:
        topic: Begins the keys of the facts.
        facts: The facts.
        templates: The beginning of a sentence, and a clause with `{x}`, then `{y}` at its end.
        n_examples: How many further clauses come first.
    """

    def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
        begin, clause = rng.choice(templates).split("|")
        first, second, *examples = _sample(rng, topic, facts, n_examples + 2, allowed)

        def prompt(stated: Fact, asked: Fact) -> str:
            clauses = [clause.format(x=x, y=y) for x, y in (*examples, stated)]
            question = clause.removesuffix(" {y}").format(x=asked[0])
            return f"{begin} {', '.join(clauses)}, and {question}"

        return PromptPair(
            prompt(second, first), prompt(first, second), f" {first[1]}", f" {second[1]}"
        )

    return draw
