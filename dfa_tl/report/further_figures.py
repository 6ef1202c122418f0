"""The figures of the study's further pairs and methods, as many as a report has room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dfa_tl.analysis.select import counted
from dfa_tl.report.figures import FIGURES, Drawing, NotDrawn, Subject, draw
from dfa_tl.report.sections import Section
from dfa_tl.report.wording import arrow

MARKUP = 3000  # bytes around a figure's data
NAMED = 4  # how many of the pairs and methods that are left out are named


def with_further_figures(
    shown: Sequence[Section], subject: Subject, *, size: int, limit: int
) -> list[Section]:
    """The sections with the figures that compare circuits, for every pair and method.

    The figures of one pair and method are taken all together or not at all. The first pair's other
    methods come first; the first pair and method that are too large end it. The section with the
    report's first figure says what was left out.

    Args:
        shown: Sections of a report.
        subject: What their figures are about.
        size: Bytes of the report without further figures.
        limit: Bytes that it may grow to.
    """
    # A figure that could not be drawn for the first pair and method is not repeated.
    drawn_ids = [one.id for part in shown for one in part.drawings if isinstance(one, Drawing)]
    repeated = [
        one for one in FIGURES if one.per == "pair and method" and f"figure-{one.name}" in drawn_ids
    ]
    further = list(_further(subject))
    taken: dict[str, list[Drawing | NotDrawn]] = {}
    left_out: list[str] = []
    for number, each in enumerate(further):
        found = {}
        for figure in repeated if size < limit else ():
            one = draw(figure, each, f"-{number + 2}")
            if isinstance(one, NotDrawn):
                one = replace(one, title=f"{one.title}, {each.pair} with {each.method}")
            found[f"figure-{figure.name}"] = one
        size += sum(map(_size, found.values()))
        if size >= limit:
            left_out = [f"{arrow(one.pair)} with {one.method}" for one in further[number:]]
            break
        for name, one in found.items():
            taken.setdefault(name, []).append(one)
    note = _note(bool(taken), left_out, limit) if further else ""
    return [
        replace(
            part,
            further=tuple(each for one in part.drawings for each in taken.get(one.id, ())),
            text=part.text
            + (note if any(one.id in drawn_ids[:1] for one in part.drawings) else ""),
        )
        for part in shown
    ]


def _further(subject: Subject) -> Iterator[Subject]:
    """The other methods of the subject's pair, then the other pairs."""
    config = subject.results.config
    for pair in dict.fromkeys((subject.pair, *(pair.name for pair in config.pairs))):
        for method in config.methods:
            if (pair, method) != (subject.pair, subject.method):
                yield replace(subject, pair=pair, method=method)


def _size(one: Drawing | NotDrawn) -> int:
    return MARKUP + (len(one.data.encode()) if isinstance(one, Drawing) else 0)


def _note(has_further: bool, left_out: Sequence[str], limit: int) -> str:
    text = " Figures of other pairs and methods are folded below these." if has_further else ""
    text += " Tables cover every pair and method."
    if left_out:
        more = len(left_out) - NAMED
        named = [*left_out[:NAMED], *([f"{counted(more, 'more choice')}"] if more > 0 else [])]
        text += (
            f" To keep this file below {limit / 1e6:.0f} MB, it leaves out the figures of "
            f"{'; '.join(named)}."
        )
    return text
