"""The next argument that a Python docstring describes.

The corrupt prompt exchanges the third and the fourth argument in the signature. The arguments in
their order belong to one split.
"""

from __future__ import annotations

import random

from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.task import Allowed, Task

FUNCTIONS = "open build find read update check fetch create convert merge sort draw".split()
ARGUMENTS = (
    "load size files path name value data key index count width height text node user limit "
    "offset mode type date color image table list item token start end length step rate score "
    "label source target query page title model input output buffer line code time year email "
    "price order status"
).split()
NOTES = "the first thing|what is used|as given|a setting|what to take|an option|needed here".split(
    "|"
)


def draw(rng: random.Random, allowed: Allowed) -> PromptPair:
    """One pair; the set of arguments belongs to the split."""
    while True:
        arguments = rng.sample(ARGUMENTS, 4)
        if allowed(f"docstring {sorted(arguments)}"):
            break
    function, (note, other_note) = rng.choice(FUNCTIONS), rng.sample(NOTES, 2)
    first, second, third, fourth = arguments

    def prompt(third: str, fourth: str) -> str:
        return (
            f"def {function}(self, {first}, {second}, {third}, {fourth}):\n"
            f'    """The function to {function}.\n\n'
            f"    :param {first}: {note}\n    :param {second}: {other_note}\n    :param"
        )

    return PromptPair(prompt(third, fourth), prompt(fourth, third), f" {third}", f" {fourth}")


TASKS = (
    Task(
        "docstring_arguments",
        "docstrings",
        draw,
        "The next argument to describe; the corrupt prompt exchanges it with the last one.",
        "Heimersheim and Janiak 2023, A Circuit for Python Docstrings in a 4-Layer Attention-Only "
        "Transformer",
        changed_words=(2,),
        is_notation=True,
    ),
)
