"""`write_report`: a study as one HTML file.

Scripts, styles and data are all in the file, and a content security policy in its head allows no
request and no script but its own, by their hashes: names that come from outside cannot run
anything, and nothing can be sent anywhere. Templates escape by themselves.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dfa_tl.analysis import TABLES, Table, source_effect
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.registry import FREE_MASK, NO_SOURCE
from dfa_tl.errors import DFAError
from dfa_tl.io.atomic import write_file
from dfa_tl.models.attention import AttentionPatterns
from dfa_tl.report.contrasts import Contrast
from dfa_tl.report.findings import Headline, headline, regime_of
from dfa_tl.report.more_figures import with_further
from dfa_tl.report.phrases import arrow, counted
from dfa_tl.report.sections import Section, sections
from dfa_tl.study.results import StudyResults
from dfa_tl.viz.attention import circuitsvis_script, view_script, view_style

TEMPLATES = Path(__file__).parent / "templates"
OF_A_REGIME = ("overall", "effect_by_way", "break_even")
"""Tables about one regime."""
LISTED = 20  # missing jobs that are named
MOST_BYTES = 8_000_000  # figures of further pairs and methods stop before it


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
    tables, titles, left_out = _tables(results)
    head = headline(results, tables)
    shown = list(sections(results, head, tables, titles, attention))
    notices = [*_notices(results), *left_out]
    plain = _rendered(results, head, notices, shown)
    whole = with_further(shown, results, head, size=len(plain.encode()), most=MOST_BYTES)
    return _rendered(results, head, notices, whole)


def _rendered(
    results: StudyResults,
    head: Headline,
    notices: list[tuple[str, list[str]]],
    shown: list[Section],
) -> str:
    scripts = _scripts(shown)
    environment = Environment(
        loader=PackageLoader("dfa_tl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["arrow"] = arrow
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
        place=_scale(head.contrasts),
        Markup=Markup,
    )


def _tables(
    results: StudyResults,
) -> tuple[dict[str, pd.DataFrame], dict[str, str], list[tuple[str, list[str]]]]:
    """Tables with rows, their titles, and what could not be made of a partial study."""
    frames: dict[str, pd.DataFrame] = {}
    titles: dict[str, str] = {}
    failed: list[str] = []
    regime = regime_of(results.config)
    if not results.evaluations:
        return frames, titles, []
    makers: dict[str, Callable[[StudyResults], Table]] = {
        **TABLES,
        **{name: partial(TABLES[name], regime=regime) for name in OF_A_REGIME},
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
            frames[name], titles[name] = table.frame, table.title
    return frames, titles, [("Some tables could not be made.", failed)] if failed else []


def _scale(contrasts: Sequence[Contrast]) -> Callable[[float], str]:
    """From a difference to its place between 0 and 100, zero and every interval in sight."""
    ends = [0.0, *(limit for one in contrasts for limit in (*one.limits, one.difference))]
    finite = [end for end in ends if isfinite(end)]
    low, high = min(finite), max(finite)
    edge = 0.05 * (high - low) or 1.0

    def place(value: float) -> str:
        inside = min(max(value, low - edge), high + edge)
        return f"{100 * (inside - low + edge) / (high - low + 2 * edge):.2f}"

    return place


def _byline(results: StudyResults) -> str:
    config = results.config
    return " · ".join(
        [
            counted(len(config.tasks), "task"),
            counted(len(config.methods), "attribution method"),
            counted(len(config.seeds), "seed"),
            f"{counted(config.test_pairs, 'test pair')} per task",
        ]
    )


def _notices(results: StudyResults) -> list[tuple[str, list[str]]]:
    """What is missing and what failed: a sentence, and a list."""
    notices = []
    if missing := results.missing:
        n_jobs = len({job.key for group in results.groups for job in group.jobs})
        named = [str(job) for job in missing[:LISTED]]
        more = [f"and {len(missing) - LISTED} more"] if len(missing) > LISTED else []
        notices.append(
            (
                f"This study is not complete: {len(missing)} of {n_jobs} jobs have no result. "
                "Numbers are of what is there and may change.",
                named + more,
            )
        )
    if results.failures:
        notices.append(
            (
                f"{counted(len(results.failures), 'job')} failed.",
                [
                    f"{failure.job} of {failure.group}: {_last_line(failure.traceback)}"
                    for failure in results.failures
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
