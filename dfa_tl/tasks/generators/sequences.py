"""The next item of a known sequence: days, months, numbers and letters.

The corrupt prompt lists another part of the sequence. The sentence around the items
belongs to one split.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from string import ascii_uppercase

from dfa_tl.tasks.generators.words import NAMES, PLACES
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Draw, Task

DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
MONTHS = tuple(
    "January February March April May June July August September October November December".split()
)
NUMBERS = tuple(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty".split()
)
REFERENCE = (
    "Gould et al. 2024, Successor Heads: Recurring, Interpretable Attention Heads in the Wild; Lan "
    "et al. 2024, Towards Interpretable Sequence Continuation"
)


def _continued(
    topic: str, items: Sequence[str], n_shown: int, *templates: str, is_cycle: bool = False
) -> Draw:
    """Sentences that end in `n_shown` items of a sequence that may begin again at its end."""
    n_starts = len(items) if is_cycle else len(items) - n_shown

    def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
        while True:
            template, name, place = rng.choice(templates), rng.choice(NAMES), rng.choice(PLACES)
            begin = template.format(name=name, place=place)
            if allowed(f"{topic} {begin}"):
                break

        def side(start: int) -> tuple[str, str]:
            *shown, answer = (items[(start + i) % len(items)] for i in range(n_shown + 1))
            return f"{begin} {', '.join(shown)},", f" {answer}"

        (clean, answer), (corrupt, wrong_answer) = map(side, rng.sample(range(n_starts), 2))
        return PromptPair(clean, corrupt, answer, wrong_answer)

    return draw


TASKS = (
    Task(
        "days",
        "sequences",
        _continued(
            "days",
            DAYS,
            2,
            "The {place} is open on",
            "This week {name} will be at the {place} on",
            "The visits of {name} to the {place} were on",
            is_cycle=True,
        ),
        "The next day of the week; the corrupt prompt lists other days.",
        REFERENCE,
        changed_words=(2,),
    ),
    Task(
        "months",
        "sequences",
        _continued(
            "months",
            MONTHS,
            3,
            "The {place} was open in",
            "Last year {name} worked at the {place} in",
            "The letters from {name} to the {place} came in",
            is_cycle=True,
        ),
        "The next month; the corrupt prompt lists other months.",
        REFERENCE,
        changed_words=(3,),
    ),
    Task(
        "numbers",
        "sequences",
        _continued(
            "numbers",
            NUMBERS,
            3,
            "At the {place}, {name} counted out loud:",
            "On the way to the {place}, {name} was counting the cars:",
            "Waiting at the {place}, {name} kept counting:",
        ),
        "The next number word; the corrupt prompt lists other numbers.",
        REFERENCE,
        changed_words=(3,),
    ),
    Task(
        "letters",
        "sequences",
        _continued(
            "letters",
            tuple(ascii_uppercase),
            3,
            "At the {place}, {name} recited the alphabet:",
            "On the wall of the {place}, {name} wrote the letters",
            "On the way to the {place}, {name} sang the letters",
        ),
        "The next letter of the alphabet; the corrupt prompt lists other letters.",
        REFERENCE,
        changed_words=(3,),
    ),
)
