"""`write_report`: a study as one HTML file.

Scripts, styles and data are all in the file, and a content security policy in its head allows no
request and no script but its own, by their hashes: names that come from outside cannot run
anything, and nothing can be sent anywhere. Templates escape by themselves.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dfa_tl.analysis import TABLES, Table, source_effect
from dfa_tl.analysis.render import Cell
from dfa_tl.analysis.select import counted
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.registry import FREE_MASK, NO_SOURCE
from dfa_tl.errors import DFAError
from dfa_tl.io.atomic import write_file
from dfa_tl.models.attention import AttentionPatterns
from dfa_tl.report.contrasts import Level
from dfa_tl.report.figures import Subject
from dfa_tl.report.findings import Headline, headline, regime_of
from dfa_tl.report.further_figures import with_further_figures
from dfa_tl.report.sections import Section, sections
from dfa_tl.report.wording import arrow, listed, typeset, with_limits
from dfa_tl.study.results import StudyResults
from dfa_tl.viz.attention import circuitsvis_script, view_script, view_style

TEMPLATES = Path(__file__).parent / "templates"
TABLES_OF_A_REGIME = ("levels", "overall", "effect_by_choice", "break_even")
LISTED_JOBS = 20  # missing jobs that are named
MOST_BYTES = 8_000_000  # figures of other pairs and methods stop before it

Notice = tuple[str, list[str]]
"""What is missing or failed: a sentence, and the list that unfolds below it."""


@checked_arguments
def write_report(
    results: StudyResults,
    path: str | Path,
    *,
    attention: Mapping[str, AttentionPatterns] | None = None,
) -> Path:
    """Write a study as one HTML file that needs no network.

    Args:
        results: The study; jobs may be missing or failed, the report then says which.
        path: The file.
        attention: Attention patterns to show, by title; see `dfa_tl.models.attention`.
    """
    return write_file(path, _page(results, attention or {}).encode())


def _page(results: StudyResults, attention: Mapping[str, AttentionPatterns]) -> str:
    tables, failed = _tables(results)
    head = headline(results, {name: table.frame for name, table in tables.items()})
    subject = Subject(results, head.pair.name, head.method, results.config.tasks[0], head.regime)
    shown = list(sections(subject, tables, attention))
    notices = _notices(results)
    if failed:
        notices.append(("Some tables could not be made.", failed))
    size = len(_rendered(results, head, notices, shown).encode())
    whole = with_further_figures(shown, subject, size=size, limit=MOST_BYTES)
    return _rendered(results, head, notices, whole)


def _rendered(
    results: StudyResults, head: Headline, notices: list[Notice], shown: list[Section]
) -> str:
    scripts = _scripts(shown)
    environment = Environment(
        loader=PackageLoader("dfa_tl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "arrow": arrow,
        "typeset": typeset,
        "rows": _rows,
        "with_limits": with_limits,
    }
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        head=head,
        config=results.config,
        byline=_byline(results),
        notices=notices,
        sections=shown,
        policy=_policy(scripts),
        style=Markup(style + (view_style() if any(one.views for one in shown) else "")),
        scripts=[Markup(script) for script in scripts],
        versions=results.versions,
        position=_scale(head.levels),
        Markup=Markup,
    )


def _rows(columns: Iterable[Sequence[Cell]]) -> Iterator[tuple[Cell, ...]]:
    return zip(*columns, strict=True)


def _tables(results: StudyResults) -> tuple[dict[str, Table], list[str]]:
    """The tables that have rows, and why a partial study cannot have the others."""
    tables: dict[str, Table] = {}
    failed: list[str] = []
    regime = regime_of(results.config)
    if not results.evaluations:
        return tables, failed
    makers: dict[str, Callable[[StudyResults], Table]] = {
        **TABLES,
        **{name: partial(TABLES[name], regime=regime) for name in TABLES_OF_A_REGIME},
        **{
            f"effect:{one.name}": partial(source_effect, against=one.name, regime=regime)
            for one in (NO_SOURCE, FREE_MASK)
            if one.applies_to(regime)
        },
    }
    del makers["source_effect"]  # the effects above
    for name, make in makers.items():
        try:
            table = make(results)
        except DFAError as error:
            failed.append(f"{name}: {error}")
            continue
        if len(table.frame):
            tables[name] = table
    return tables, failed


def _scale(levels: Sequence[Level]) -> Callable[[float], str]:
    """From a CPR to its position from 0 to 100, with 0, 1 and every interval in view."""
    ends = [end for one in levels for end in (one.cpr.low, one.cpr.estimate, one.cpr.high)]
    finite = [0.0, 1.0, *filter(isfinite, ends)]
    low, high = min(finite), max(finite)
    edge = 0.05 * (high - low) or 1.0

    def position(value: float) -> str:
        inside = min(max(value, low - edge), high + edge)
        return f"{100 * (inside - low + edge) / (high - low + 2 * edge):.2f}"

    return position


def _byline(results: StudyResults) -> str:
    config = results.config
    return " · ".join(
        [
            counted(len(config.tasks), "task"),
            counted(len(config.methods), "attribution method"),
            counted(len(config.seeds), "seed"),
            f"{counted(config.test_pairs, 'test pair')} per task",
            *(
                results.dates
                and [" to ".join(dict.fromkeys((results.dates[0], results.dates[-1])))]
            ),
        ]
    )


def _notices(results: StudyResults) -> list[Notice]:
    """Which jobs are missing, which failed, and whether all were made alike."""
    notices = []
    if missing := results.missing:
        n_jobs = len(results.jobs)
        named = [str(job) for job in missing[:LISTED_JOBS]]
        if len(missing) > LISTED_JOBS:
            named.append(f"and {len(missing) - LISTED_JOBS} more")
        notices.append(
            (
                f"This study is not complete: {len(missing)} of {n_jobs} jobs have no result. "
                "The numbers cover the finished jobs only and may change.",
                named,
            )
        )
    if failures := results.failures:
        named = [f"{one.job}: {_last_line(one.traceback)}" for one in failures]
        notices.append((f"{counted(len(failures), 'job')} failed.", named))
    several = {name: counts for name, counts in results.made_with.items() if len(counts) > 1}
    if several:
        notices.append(
            (
                f"Results were made with different {listed(several)}. Numbers may differ in their "
                "last digits. To rule this out, run the study in a new folder.",
                [
                    f"{name} {version}: {counted(n, 'job')}"
                    for name, counts in several.items()
                    for version, n in counts.items()
                ],
            )
        )
    return notices


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no traceback"])[-1]


def _scripts(shown: list[Section]) -> list[str]:
    scripts = []
    if any(section.drawings for section in shown):
        scripts.append(get_plotlyjs().replace("</script", r"<\/script"))
    if any(section.views for section in shown):
        scripts += [circuitsvis_script(), view_script()]
    return [*scripts, (TEMPLATES / "report.js").read_text(encoding="utf-8")]


def _policy(scripts: list[str]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )
