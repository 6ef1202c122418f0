"""Words that several tasks share.

Each is one token after a space in the tokenizers of GPT-2, Pythia, Llama-3, Qwen-2.5, Gemma 3 and
SmolLM2.
"""

from __future__ import annotations

MEN = tuple(
    "John Tom James David Paul Mark Peter Robert George Henry Jack Victor Michael William Richard "
    "Charles Thomas Daniel Matthew Andrew Steven Kevin Brian Edward Ronald Anthony Ryan Gary Eric "
    "Nicholas Stephen Jonathan Larry Justin Scott Frank Patrick Raymond Gregory Samuel Benjamin "
    "Adam Nathan Arthur Simon Philip Martin Carl Roger Jeremy Sean Ian Neil Alan Joseph Joshua "
    "Christopher Kenneth Timothy Jason Jeffrey Jacob Dennis Jerry Harry Oliver Max Louis Aaron "
    "Albert Fred Bruce Craig Keith Graham Donald Douglas".split()
)
WOMEN = tuple(
    "Mary Alice Anna Emma Sarah Laura Julia Kate Lucy Jane Helen Amy Clara Rose Jennifer Linda "
    "Elizabeth Barbara Susan Jessica Karen Lisa Nancy Margaret Sandra Emily Michelle Carol Amanda "
    "Melissa Rebecca Stephanie Kathleen Anne Nicole Rachel Catherine Maria Diana Julie Victoria "
    "Lauren Christine Martha Andrea Hannah Ann Sara Claire Sophie Charlotte Eva Marie Katherine "
    "Heather Deborah Angela Monica Patricia Christina Dorothy Ruth Molly Ellen Annie "
    "Caroline".split()
)
NAMES = MEN + WOMEN
PLACES = tuple(
    "store park school office station museum library beach market hospital restaurant "
    "theater hotel airport church farm gym bank castle".split()
)
OBJECTS = tuple(
    "book ring box letter ball cup hat key lamp coin bag pen chair clock shirt phone bottle "
    "ticket camera basket gift sandwich necklace computer guitar map flower card watch knife bowl "
    "plate pencil brush wallet towel mirror".split()
)
COLORS = tuple(
    "red blue green black white brown pink orange purple yellow gold silver gray".split()
)


def with_article(word: str) -> str:
    """The word after `a` or `an`."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
