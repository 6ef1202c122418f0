"""Countries, their capitals and languages, and where landmarks are."""

from __future__ import annotations

from dfa_tl.tasks.generators.relations import relation, swapped_relation
from dfa_tl.tasks.generators.words import rows
from dfa_tl.tasks.task import Task

CAPITALS = rows("""
    France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon England:London
    Scotland:Edinburgh Ireland:Dublin Norway:Oslo Sweden:Stockholm
    Denmark:Copenhagen Finland:Helsinki Poland:Warsaw Austria:Vienna Hungary:Budapest
    Greece:Athens Russia:Moscow China:Beijing Japan:Tokyo Iran:Tehran Iraq:Baghdad Egypt:Cairo
    Canada:Ottawa Jamaica:Kingston Chile:Santiago Syria:Damascus
    Belgium:Brussels Switzerland:Bern
""")
LANGUAGES = rows("""
    France:French Germany:German Italy:Italian Spain:Spanish Portugal:Portuguese England:English
    Norway:Norwegian Sweden:Swedish Denmark:Danish Finland:Finnish Poland:Polish Austria:German
    Hungary:Hungarian Greece:Greek Turkey:Turkish Russia:Russian China:Chinese Japan:Japanese
    Iran:Persian Iraq:Arabic Israel:Hebrew Egypt:Arabic Mexico:Spanish Cuba:Spanish
    Brazil:Portuguese Argentina:Spanish Chile:Spanish Australia:English Vietnam:Vietnamese
    Thailand:Thai Indonesia:Indonesian Syria:Arabic Lebanon:Arabic Romania:Romanian
    Serbia:Serbian Peru:Spanish Colombia:Spanish Venezuela:Spanish Libya:Arabic Yemen:Arabic
    Morocco:Arabic Sudan:Arabic Panama:Spanish Guatemala:Spanish Ecuador:Spanish Scotland:English
    Ireland:English Jordan:Arabic Ukraine:Ukrainian
""")
LANDMARKS = rows(
    """
    the Eiffel Tower:France; the Louvre:France; Notre Dame:France; the Palace of Versailles:France;
    Mont Blanc:France; the Colosseum:Italy; the Tower of Pisa:Italy; the Grand Canal:Italy;
    Mount Etna:Italy; the Uffizi Gallery:Italy; Big Ben:England; Stonehenge:England;
    Buckingham Palace:England; the Tower of London:England; Westminster Abbey:England;
    Edinburgh Castle:Scotland; Loch Ness:Scotland; Ben Nevis:Scotland; the Taj Mahal:India;
    the Red Fort:India; the Golden Temple:India; the Great Wall:China; the Forbidden City:China;
    Tiananmen Square:China; the Terracotta Army:China; Mount Fuji:Japan; the Tokyo Tower:Japan;
    Osaka Castle:Japan; the Great Pyramid of Giza:Egypt; the Valley of the Kings:Egypt;
    the Great Sphinx:Egypt; the Suez Canal:Egypt; the Acropolis:Greece; the Parthenon:Greece;
    Mount Olympus:Greece; the Kremlin:Russia; Red Square:Russia; the Hermitage Museum:Russia;
    the Bolshoi Theatre:Russia; Lake Baikal:Russia; Machu Picchu:Peru; the Nazca Lines:Peru;
    Chichen Itza:Mexico; the Brandenburg Gate:Germany; Neuschwanstein Castle:Germany;
    Cologne Cathedral:Germany; the Reichstag:Germany; the Black Forest:Germany;
    the Sydney Opera House:Australia; the Great Barrier Reef:Australia; Bondi Beach:Australia;
    Ayers Rock:Australia; the Sagrada Familia:Spain; the Alhambra:Spain; the Prado Museum:Spain;
    Park Guell:Spain; the Hagia Sophia:Turkey; the Blue Mosque:Turkey; the Grand Bazaar:Turkey;
    Angkor Wat:Cambodia; the CN Tower:Canada; Banff National Park:Canada;
    Christ the Redeemer:Brazil; Copacabana Beach:Brazil; Sugarloaf Mountain:Brazil; Petra:Jordan;
    the Panama Canal:Panama; Masada:Israel;
    Persepolis:Iran; Ha Long Bay:Vietnam
    """,
    ";",
)

TASKS = (
    Task(
        "country_capital",
        "geography",
        relation(
            "capital of",
            CAPITALS,
            "The capital of {x} is {y}.",
            "The capital city of {x} is called {y}.",
            "The government of {x} sits in {y}.",
            "In {x}, the capital city is {y}.",
            "If you want to see the capital of {x}, go to {y}.",
        ),
        "The capital of a country; the corrupt prompt names another country.",
        "Meng et al. 2022, Locating and Editing Factual Associations in GPT; Todd et al. 2024, "
        "Function Vectors in Large Language Models",
    ),
    Task(
        "capital_country",
        "geography",
        relation(
            "capital of",
            [(capital, country) for country, capital in CAPITALS],
            "The city of {x} is the capital of {y}.",
            "Everyone knows that {x} is the capital of {y}.",
            "If you visit {x}, you are in the capital of {y}.",
            "At school we learned that {x} is the capital of {y}.",
            "The embassy is in {x}, the capital of {y}.",
        ),
        "The country that a city is the capital of; the corrupt prompt names another city.",
        "Todd et al. 2024, Function Vectors in Large Language Models; Hernandez et al. 2024, "
        "Linearity of Relation Decoding in Transformer Language Models",
    ),
    Task(
        "country_language",
        "geography",
        relation(
            "language",
            LANGUAGES,
            "Most people in {x} speak {y}.",
            "The main language of {x} is {y}.",
            "Children in {x} usually speak {y}.",
        ),
        "The main language of a country; the corrupt prompt names another country.",
        "Hernandez et al. 2024, Linearity of Relation Decoding in Transformer Language Models",
    ),
    Task(
        "landmark_country",
        "geography",
        swapped_relation(
            "sight",
            LANDMARKS,
            "As every traveler knows,|{x} is in {y}",
            "The guide told us that|{x} is located in {y}",
            "According to the map,|you can visit {x} in {y}",
        ),
        "The country of a landmark; the corrupt prompt states this one and asks for another.",
        "Meng et al. 2022, Locating and Editing Factual Associations in GPT",
        changed_words=(),
    ),
)
