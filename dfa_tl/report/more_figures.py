"""Figures of further pairs and methods, as many as a report has room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dfa_tl.report.figures import Drawing, NotDrawn, of_study
from dfa_tl.report.findings import Headline
from dfa_tl.report.phrases import arrow, counted
from dfa_tl.report.sections import Section
from dfa_tl.study.results import StudyResults

MARKUP = 3000  # bytes; what stands around a figure's data
NAMED = 4  # choices left out that are named


def with_further(
    shown: Sequence[Section], results: StudyResults, head: Headline, *, size: int, most: int
) -> list[Section]:
    """The sections with the figures that compare circuits, for every pair and method.

    All figures of a pair and method are taken in or none, those of the first pair's other methods
    before those of other pairs; the first that are too large end it. The section that has the first
    figure says what was left out.

    Args:
        shown: Sections of a report.
        results: The study.
        head: What their figures are of.
        size: Bytes of the report without further figures.
        most: Bytes that it may grow to.
    """
    drawn_ids = [one.id for part in shown for one in part.drawings if isinstance(one, Drawing)]
    choices = list(_choices(results, head))
    taken: dict[str, list[Drawing | NotDrawn]] = {}
    left_out: list[str] = []
    for place, (pair, method) in enumerate(choices):
        suffix = f"-{place + 2}"
        found = {}
        # A figure that the whole study has nothing for was named once.
        for one in of_study(results, pair, method, suffix=suffix) if size < most else ():
            name = one.id.removesuffix(suffix)
            if name in drawn_ids:
                found[name] = one if isinstance(one, Drawing) else _named(one, pair, method)
        size += sum(map(_size, found.values()))
        if size >= most:
            left_out = [f"{arrow(pair)} under {method}" for pair, method in choices[place:]]
            break
        for name, one in found.items():
            taken.setdefault(name, []).append(one)
    sections = [
        replace(
            part, further=tuple(each for one in part.drawings for each in taken.get(one.id, ()))
        )
        for part in shown
    ]
    said = _said(taken, left_out, most) if choices and drawn_ids else ""
    return [
        replace(part, text=part.text + said) if _holds(part, drawn_ids[:1]) else part
        for part in sections
    ]


def _choices(results: StudyResults, head: Headline) -> Iterator[tuple[str, str]]:
    """Pairs and methods other than those of the report's head, its pair first."""
    pairs = dict.fromkeys((head.pair.name, *(pair.name for pair in results.config.pairs)))
    for pair in pairs:
        for method in results.config.methods:
            if (pair, method) != (head.pair.name, head.method):
                yield pair, method


def _named(one: NotDrawn, pair: str, method: str) -> NotDrawn:
    return replace(one, title=f"{one.title}, {pair} under {method}")


def _size(one: Drawing | NotDrawn) -> int:
    return MARKUP + (len(one.data.encode()) if isinstance(one, Drawing) else 0)


def _holds(part: Section, identifiers: Sequence[str]) -> bool:
    return any(one.id in identifiers for one in part.drawings)


def _said(taken: object, left_out: Sequence[str], most: int) -> str:
    text = " Those of further pairs and methods are folded below them." if taken else ""
    text += " Tables have every pair and method."
    if left_out:
        more = len(left_out) - NAMED
        named = [*left_out[:NAMED], *([f"{counted(more, 'more choice')}"] if more > 0 else [])]
        text += (
            f" Left out, to keep this file below {most / 1e6:.0f} MB: figures of "
            f"{'; '.join(named)}."
        )
    return text
