"""The words of the six toy tasks. The bundled tokenizer knows these and no others."""

from __future__ import annotations

from string import ascii_uppercase

NAMES = tuple(
    "Mary John Alice Bob Anna Tom Emma James Sarah David Laura Paul Julia Mark Kate Peter Lucy "
    "Simon Jane Robert Helen George Amy Henry Clara Jack Nina Oscar Rose Victor".split()
)
PLACES = tuple("store park school office garden station museum library beach market".split())
OBJECTS = tuple(
    "book drink ring box letter ball cup hat key lamp coin bag pen chair clock shirt".split()
)
COLORS = tuple("red blue green black white brown grey pink orange purple yellow gold".split())
LETTERS = tuple(ascii_uppercase)

HABITAT = {
    **dict.fromkeys(("whale", "shark", "crab"), "ocean"),
    **dict.fromkeys(("deer", "owl", "squirrel"), "forest"),
    **dict.fromkeys(("cow", "pig", "goat"), "farm"),
    **dict.fromkeys(("camel", "lizard", "scorpion"), "desert"),
    **dict.fromkeys(("beaver", "otter", "trout"), "river"),
    **dict.fromkeys(("parrot", "monkey", "tiger"), "jungle"),
    **dict.fromkeys(("penguin", "seal", "walrus"), "arctic"),
    **dict.fromkeys(("bat", "mole", "worm"), "cave"),
}
"""Where each animal lives (one hop)."""

WEATHER = {
    "ocean": "windy",
    "forest": "shady",
    "farm": "mild",
    "desert": "hot",
    "river": "wet",
    "jungle": "humid",
    "arctic": "cold",
    "cave": "dark",
}
"""The weather of each habitat (one hop; two hops from the animal)."""

MAX_OPERAND = 49
"""Operands of additions run from 0 to this; sums to twice as much."""

NUMBERS = tuple(str(number) for number in range(2 * MAX_OPERAND + 1))


def words_of(*templates: str) -> frozenset[str]:
    """The literal words of some templates, without the `{fields}`."""
    return frozenset(
        word for text in templates for word in text.split() if not word.startswith("{")
    )
