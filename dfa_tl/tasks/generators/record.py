"""What a task of the battery says about itself."""

from __future__ import annotations

from dataclasses import dataclass

from dfa_tl.tasks.generators.generate import Draw


@dataclass(frozen=True)
class BatteryTask:
    """One generated task in natural English.

    Attributes:
        name: The name that `load_task` takes.
        family: Tasks that share their mechanism.
        draw: Draws one pair of a split.
        description: What is asked, and how the corrupt prompt differs.
        reference: Where the task was studied in the literature.
        changed_words: How many words the corrupt prompt replaces, each at its place; None where
            it states the same facts in another order.
        is_notation: The prompts are code or symbols, so they are not spaced as prose is.
    """

    name: str
    family: str
    draw: Draw
    description: str
    reference: str
    changed_words: int | None = 1
    is_notation: bool = False
