"""Well-known people: where they were from, and what they are known as."""

from __future__ import annotations

from dfa_tl.tasks.generators.relations import swapped_relation
from dfa_tl.tasks.generators.words import rows
from dfa_tl.tasks.task import Task

PEOPLE = rows(
    """
    Wolfgang Amadeus Mozart:Austria:composer; Johann Sebastian Bach:Germany:composer;
    Ludwig van Beethoven:Germany:composer; Richard Wagner:Germany:composer;
    Giuseppe Verdi:Italy:composer; Antonio Vivaldi:Italy:composer; Claude Debussy:France:composer;
    Edvard Grieg:Norway:composer; Franz Schubert:Austria:composer; Joseph Haydn:Austria:composer;
    Igor Stravinsky:Russia:composer; Pablo Picasso:Spain:painter; Diego Velazquez:Spain:painter;
    Francisco Goya:Spain:painter; Salvador Dali:Spain:painter; Claude Monet:France:painter;
    Henri Matisse:France:painter; Paul Cezanne:France:painter; Edvard Munch:Norway:painter;
    Frida Kahlo:Mexico:painter; Diego Rivera:Mexico:painter; Gustav Klimt:Austria:painter;
    Sandro Botticelli:Italy:painter; Albert Einstein:Germany:physicist;
    Max Planck:Germany:physicist; Werner Heisenberg:Germany:physicist;
    Isaac Newton:England:physicist; Michael Faraday:England:physicist;
    Stephen Hawking:England:physicist; Niels Bohr:Denmark:physicist;
    Enrico Fermi:Italy:physicist; Erwin Schrodinger:Austria:physicist;
    Immanuel Kant:Germany:philosopher; Friedrich Nietzsche:Germany:philosopher;
    Plato:Greece:philosopher; Aristotle:Greece:philosopher; Socrates:Greece:philosopher;
    John Locke:England:philosopher; Confucius:China:philosopher;
    Rene Descartes:France:philosopher; Soren Kierkegaard:Denmark:philosopher;
    Jean-Paul Sartre:France:philosopher; David Hume:Scotland:philosopher; Homer:Greece:poet;
    Dante Alighieri:Italy:poet; Pablo Neruda:Chile:poet; Charles Baudelaire:France:poet;
    John Keats:England:poet; Lord Byron:England:poet; Robert Burns:Scotland:poet;
    Leo Tolstoy:Russia:novelist; Fyodor Dostoevsky:Russia:novelist;
    Charles Dickens:England:novelist; Jane Austen:England:novelist;
    Haruki Murakami:Japan:novelist; Gabriel Garcia Marquez:Colombia:novelist;
    Mahatma Gandhi:India:politician; Indira Gandhi:India:politician;
    Winston Churchill:England:politician; Margaret Thatcher:England:politician;
    Konrad Adenauer:Germany:politician; Angela Merkel:Germany:politician;
    Charles de Gaulle:France:politician; Vladimir Lenin:Russia:politician;
    Mao Zedong:China:politician; Fidel Castro:Cuba:politician; Celine Dion:Canada:singer;
    Justin Bieber:Canada:singer; Edith Piaf:France:singer; Luciano Pavarotti:Italy:singer;
    Adele:England:singer; Bob Marley:Jamaica:singer; Shakira:Colombia:singer;
    Charlie Chaplin:England:actor; Jet Li:China:actor;
    Sean Connery:Scotland:actor; Emma Watson:England:actor; Jim Carrey:Canada:actor;
    Antonio Banderas:Spain:actor; Leonhard Euler:Switzerland:scientist;
    Charles Darwin:England:scientist; Louis Pasteur:France:scientist;
    Galileo Galilei:Italy:scientist; Carl Linnaeus:Sweden:scientist;
    Gregor Mendel:Austria:scientist; Alfred Nobel:Sweden:inventor;
    Alexander Graham Bell:Scotland:inventor; James Watt:Scotland:inventor
    """,
    ";",
)

TASKS = (
    Task(
        "person_country",
        "people",
        swapped_relation(
            "people",
            [(name, country) for name, country, _ in PEOPLE],
            "As every student knows,|{x} came from {y}",
            "The book says that|{x} was from {y}",
            "At school we learned that|{x} came from {y}",
        ),
        "The country of a person; the corrupt prompt states this one and asks for another.",
        "Meng et al. 2022, Locating and Editing Factual Associations in GPT; Geva et al. 2023, "
        "Dissecting Recall of Factual Associations in Auto-Regressive Language Models",
        changed_words=(),
    ),
    Task(
        "person_profession",
        "people",
        swapped_relation(
            "people",
            [(name, work) for name, _, work in PEOPLE if work[0] not in "aeiou"],
            "As every student knows,|{x} is famous as a {y}",
            "The book says that|{x} is known as a {y}",
            "In the encyclopedia,|{x} is described as a {y}",
        ),
        "What a person is known as; the corrupt prompt states this one and asks for another.",
        "Hernandez et al. 2024, Linearity of Relation Decoding in Transformer Language Models",
        changed_words=(),
    ),
)
