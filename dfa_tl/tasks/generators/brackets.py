"""The bracket that closes what is still open.

The corrupt prompt opens another kind of bracket. What stands inside it belongs to one split.
"""

from __future__ import annotations

import random

from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Task

BRACKETS = tuple("() [] {} <>".split())
MAX_INSIDE = 3


def _balanced(rng: random.Random, n: int) -> str:
    """A sequence of `n` closed pairs of brackets, some of them nested."""
    if n == 0:
        return ""
    opening, closing = rng.choice(BRACKETS)
    inside = rng.randrange(n)
    parts = (opening, _balanced(rng, inside), closing, _balanced(rng, n - 1 - inside))
    return " ".join(part for part in parts if part)


def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair after closed brackets of all kinds; what is inside belongs to the split."""
    while True:
        before, inside = _balanced(rng, 4), _balanced(rng, rng.randint(1, MAX_INSIDE))
        if allowed(f"brackets {inside}"):
            break
    (opening, closing), (other, other_closing) = rng.sample(BRACKETS, 2)
    return PromptPair(
        f"{before} {opening} {inside}",
        f"{before} {other} {inside}",
        f" {closing}",
        f" {other_closing}",
    )


TASKS = (
    Task(
        "closing_bracket",
        "brackets",
        draw,
        "The bracket that closes the outermost one; the corrupt prompt opens another kind.",
        "Srivastava et al. 2023, Beyond the Imitation Game (Dyck languages); Hewitt et al. 2020, "
        "RNNs Can Generate Bounded Hierarchical Languages with Optimal Memory",
        is_notation=True,
    ),
)
