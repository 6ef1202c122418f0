"""The report: its words against the study's numbers, and the file as a browser would parse it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
import yaml
from scipy import stats
from typer.testing import CliRunner

from dfa_tl import AlignmentConfig, analysis, load_task
from dfa_tl.alignment.alignment import AlignmentChain
from dfa_tl.cli import app
from dfa_tl.evaluation.intervals import Interval
from dfa_tl.models.attention import attention_patterns
from dfa_tl.report import write_report
from dfa_tl.report.contrasts import Contrast
from dfa_tl.report.figures import FIGURES, Drawing, Subject, draw, draw_section, drawing
from dfa_tl.report.findings import headline, regime_of
from dfa_tl.report.further_figures import with_further_figures
from dfa_tl.report.sections import Section, with_average_intervals
from dfa_tl.report.wording import signed, typeset
from dfa_tl.study import PairSpec, StudyConfig, StudyResults
from dfa_tl.study.schedule import Failure
from dfa_tl.tasks import TOY_TASKS
from small_studies import HEADS, MARKUP, SMALL, TASKS
from stand_in import StandIn

pytestmark = pytest.mark.slow

VOID = {"meta", "link", "br", "img", "input", "path", "col"}


class Page(HTMLParser):
    """A page as a browser parses it: elements with their attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def study(small_studies) -> StudyResults:
    return small_studies["small"]


@pytest.fixture(scope="module")
def html(report_files) -> str:
    return report_files["small"].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def mean_cpr(rows, regime: str) -> pd.Series:
    return rows[rows["regime"] == regime].groupby("test_task")["cpr"].mean()


def test_the_first_screen_says_what_the_numbers_say(study, page):
    rows = study.frame()
    means = rows.groupby("regime")[["cpr", "cmd"]].mean()
    ours = means["cpr"]["zero-shot"]
    lead = f"Without seeing the task or its family, transferred circuits recover {ours:.0%} of"
    assert lead in page.text
    cpr, cmd = means["cpr"], means["cmd"]
    assert f"(gold {cpr['gold']:.0%}, random W {cpr['random_W']:.0%})" in page.text
    assert f"(gold {cmd['gold']:.2f}, random W {cmd['random_W']:.2f})" in page.text
    overall = analysis.overall(study).frame.set_index("against")
    difference = (mean_cpr(rows, "zero-shot") - mean_cpr(rows, "uniform_s")).mean()
    low, high = overall["low"]["uniform_s"], overall["high"]["uniform_s"]
    said = f"No verdict from one seed: CPR {signed(difference)} [{signed(low)}, {signed(high)}], "
    assert said in page.text
    levels = analysis.levels(study).frame.set_index("circuit")
    for name in ("gold", "zero-shot", "random_W", "uniform_s", "target_only"):
        assert levels["CPR"][name] == pytest.approx(means["cpr"][name])
        assert levels["CMD"][name] == pytest.approx(means["cmd"][name])
        assert levels["low"][name] <= levels["CPR"][name] <= levels["high"][name]
    first_screen = page.text[: page.text.index("Contents")]
    for label in (
        "Result",
        "Does the source help?",
        "Is there something better?",
        "Limits",
        "Next",
    ):
        assert label in first_screen
    bars = [text for text in page.texts if re.fullmatch(r"CMD [0-9.]+", text.strip())]
    assert len(bars) == len(levels)
    assert "1 pair of models, 2 tasks, 1 seed, 6 test pairs per task." in first_screen


def test_how_many_pairs_direct_attribution_needs(study, page):
    rows = study.frame()
    ours = mean_cpr(rows, "zero-shot")
    direct = rows[rows["regime"].isin(["few-pairs", "gold"])]
    for task in TASKS:
        sizes = direct[direct["test_task"] == task].groupby("pairs")["cpr"].mean()
        enough = [n for n in sizes.index if (sizes[sizes.index >= n] >= ours[task]).all()]
        expected = f"{min(enough)} on" if enough else "more than were tried on"
        needed = re.search(r"direct attribution needs to match zero-shot: (.*?)\. ", page.text)
        assert needed
        (part,) = [one for one in needed[1].split("; ") if task in one]
        assert part.startswith(expected)


# What is said, from numbers made up for it -------------------------------------------------------


def said(
    differences: dict[str, float],
    unbounded: Sequence[str] = (),
    ways: Sequence[tuple[str, str, float]] = (),
    level: float = 0.6,
    means: Sequence[float] = (),
    **changes,
) -> dict[str, str]:
    """The first screen of a study in which zero-shot exceeds both controls by so much per task.

    `means` are the differences from mean_gold and mean_mask, whose intervals reach .1 on each side.
    """
    tasks = list(differences)
    if "config_level" in changes:
        changes["level"] = changes.pop("config_level")
    config = replace(SMALL, tasks=tuple(tasks), **{"seeds": (0, 1), **changes})
    pair = config.pairs[0].name
    bounded = [task for task in tasks if task not in unbounded]
    rows = pd.DataFrame(
        [
            {"pair": pair, "method": "nap", "variant": "", "regime": "gold", "test_task": task}
            | {"n": 6, "cpr_high": 1.0, "cpr_low": float("-inf") if task in unbounded else 0.0}
            for task in tasks
        ]
    )
    levels = pd.DataFrame(
        [
            {"pair": pair, "variant": "default", "method": method, "circuit": name, "CPR": cpr}
            | {"low": cpr - 0.1, "high": cpr + 0.1, "CMD": 1 - cpr, "CMD low": 0, "CMD high": 1}
            | {"floor": 0.025, "tasks": len(bounded)}
            for method in config.methods
            for name, cpr in {regime_of(config): level, "gold": 0.8}.items()
            if bounded
        ]
    )
    results = SimpleNamespace(
        config=config,
        evaluations=[1],
        headline=lambda view=None: rows,
        curves=dict,
    )
    values = np.array(list(differences.values()))
    reach = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else 0.05
    interval = values.mean() - reach, values.mean() + reach
    counts = {"tasks": len(values), "families": len(values), "seeds": len(config.seeds)}
    overall, effects = [], []
    for one, method in product(config.pairs, config.methods):
        key = {"pair": one.name, "variant": "default"}
        overall.append(
            {**key, "method": method, "difference": values.mean(), **counts}
            | {"low": interval[0], "high": interval[1]}
            | {"CMD difference": -values.mean(), "CMD low": -interval[1], "CMD high": -interval[0]}
        )
        effects += [
            {**key, "method": method, "task": task, "difference": value}
            | {"low": value - 0.03, "high": value + 0.03}
            | {"p (Holm)": 0.2 if abs(value) < 0.05 else 0.01}
            for task, value in differences.items()
        ]
    rows_of_controls = [
        {**row, "against": name} for row in overall for name in ("uniform_s", "target_only")
    ] + [
        {**overall[0], "against": name, "difference": value, "CMD difference": -value}
        | {"low": value - 0.1, "high": value + 0.1}
        | {"CMD low": -value - 0.1, "CMD high": -value + 0.1}
        for name, value in zip(("mean_gold", "mean_mask"), means, strict=False)
    ]
    tables = {
        "levels": levels,
        "overall": pd.DataFrame(rows_of_controls),
        "effect:uniform_s": pd.DataFrame(effects),
        "effect:target_only": pd.DataFrame(effects),
        "effect_by_choice": pd.DataFrame(
            [
                {"pair": pair, "method": "nap", "protocol": "nodes", "ranking": ranking}
                | {"metric": "logit_diff", "grid": grid, "difference": difference}
                for ranking, grid, difference in ways
            ]
        ),
    }
    return {
        one.label: f"{one.lead} {one.text} {one.details}"
        for one in headline(results, tables).statements
    }


ALL_TASKS = ("ioi", "mcqa", "arc_easy", "arc_challenge")


def test_words_for_an_interval_above_zero():
    words = said(dict(zip(ALL_TASKS, (0.3, 0.31, 0.29, 0.3), strict=True)))
    assert (
        "Both intervals exclude zero. CPR is higher on ioi, mcqa, arc_easy and arc_challenge."
        in words["Does the source help?"]
    )
    assert words["Does the source help?"].startswith("Yes: CPR +0.30 [")
    assert ", CMD −0.30 [−0.31, −0.29]. " in words["Does the source help?"]
    better = words["Is there something better?"]
    assert better.startswith("No control has a lower mean CMD (2 controls measured).")


SAME = dict.fromkeys(ALL_TASKS, 0.3) | {"ioi": 0.31}


def test_words_for_a_difference_that_turns_with_the_way_of_measuring():
    ways = [("signed", "linear", 0.3), ("signed", "mib", 0.1), ("absolute", "linear", -0.18)]
    assert (
        "depends on the evaluation: −0.18 with absolute ranking." in said(SAME, ways=ways)["Limits"]
    )
    assert "has the same sign in 1 other evaluation setting." in said(SAME, ways=ways[:2])["Limits"]


def test_words_for_tasks_that_bound_nothing():
    words = said(SAME, unbounded=["mcqa"])
    assert "Mean of 3 tasks" in words["Result"]
    assert "left out: mcqa, where the clean and the corrupt metric" in words["Result"].lower()
    none = said(SAME, unbounded=ALL_TASKS)
    assert none["Result"].startswith("Nothing can be claimed yet. On arc_challenge, arc_easy,")


def test_words_for_how_it_was_measured():
    words = said(SAME, resamples=4000, config_level=0.999)
    assert "Scores: nap, from toy-small to toy-large." in words["Result"]
    assert (
        "protocol nodes, signed ranking, the linear grid and metric logit_diff" in words["Result"]
    )
    assert "with 99.9% intervals that resample 4 families, 2 seeds and the" in words["Result"]
    beyond = said(SAME, level=1.47)["Result"]
    reach = "transferred circuits reach a CPR of 1.47 [1.37, 1.57] (gold 0.80)."
    assert reach in beyond
    assert "CPR above 1 means" in beyond
    below = said(SAME, level=-0.1)["Result"]
    assert "transferred circuits reach a CPR of −0.10 [" in below
    assert "CPR above 1" not in below
    share = "recover 60% of the model's behaviour, averaged over circuit sizes (gold 80%)."
    assert share in words["Result"]
    source = "Does the source help?"
    assert "were chosen" not in words[source]  # these settings are not the default ones
    chosen = said(SAME, variants={"default": AlignmentConfig()})[source]
    assert "were chosen for zero-shot CPR on validation pairs of these tasks" in chosen


def test_a_study_of_one_task_is_about_a_regime_that_it_can_have(study):
    one = replace(study.config, tasks=TASKS[:1], regimes=("zero-shot", "in-distribution"))
    assert regime_of(one) == "in-distribution"
    assert regime_of(replace(one, tasks=TASKS)) == "zero-shot"


def test_words_for_an_interval_that_includes_zero():
    words = said(dict(zip(ALL_TASKS, (0.4, 0.3, -0.2, 0.02), strict=True)))
    assert (
        "include zero: the study does not show that the source helps on other tasks."
        in words["Does the source help?"]
    )
    assert words["Does the source help?"].startswith("Not shown: CPR +0.13 [")
    assert (
        "CPR is higher on ioi and mcqa; lower on arc_easy; not clearly different on arc_challenge."
        in words["Does the source help?"]
    )
    assert ", CMD −0.13 [−0.56, +0.30]. " in words["Does the source help?"]
    assert "Intervals resample 4 families, 2 seeds and the test pairs" in words["Limits"]


def test_words_for_a_source_that_is_not_clearly_ahead_of_known_circuits():
    source = said(SAME, means=(0.3, 0.05))["Does the source help?"]
    assert source.startswith("Against the same training without it, yes: CPR +0.30 [")
    assert "Against mean mask, not clearly." in source
    assert "mean gold CPR +0.30 [+0.20, +0.40], CMD −0.30 [−0.40, −0.20]; mean mask" in source
    assert said(SAME, means=(0.3, 0.2))["Does the source help?"].startswith("Yes: CPR +0.30 [")


def test_words_for_what_to_run_next():
    assert said(SAME)["Next"].startswith("Add tasks of other families")
    assert said(SAME, seeds=(0,))["Next"].startswith("Run the study with more seeds")
    worse = said(dict.fromkeys(ALL_TASKS, -0.3) | {"ioi": -0.31})["Next"]
    assert "use pairs of the task on the target: a mask trained there is better." in worse
    many = dict.fromkeys(TOY_TASKS, 0.3) | {"ioi": 0.31}
    assert said(many)["Next"].startswith("Repeat it on another pair of models")


@pytest.mark.parametrize(
    ("cpr", "cmd", "seeds", "verdict"),
    [
        ((0.1, 0.3), (-0.3, -0.1), 2, "better"),
        ((0.1, 0.3), (-0.3, 0.1), 2, "better by one measure"),
        ((-0.1, 0.3), (-0.3, -0.1), 2, "better by one measure"),
        ((-0.1, 0.3), (-0.3, 0.1), 2, "not shown"),
        ((0.1, 0.3), (0.1, 0.3), 2, "CPR and CMD disagree"),
        ((-0.3, 0.1), (0.1, 0.3), 2, "worse"),
        ((-0.3, -0.1), (-0.1, 0.3), 2, "worse"),
        ((0.1, 0.3), (-0.3, -0.1), 1, "no verdict"),
    ],
)
def test_a_verdict_looks_at_both_measures(cpr, cmd, seeds, verdict):
    def interval(limits):
        return Interval(sum(limits) / 2, *limits, 0.95)

    contrast = Contrast("uniform_s", interval(cpr), interval(cmd), 3, 3, seeds)
    assert contrast.verdict == verdict


def test_one_seed_gives_no_verdict():
    words = said(dict(zip(ALL_TASKS, (0.3, 0.31, 0.29, 0.3), strict=True)), seeds=(0,))
    assert words["Does the source help?"].startswith("No verdict from one seed: CPR +0.30")
    assert "CPR is higher" not in words["Does the source help?"]
    less = said(dict(zip(ALL_TASKS, (-0.3, -0.31, -0.29, -0.3), strict=True)), seeds=(0,))
    assert less["Is there something better?"].startswith("No verdict (one seed), but a lower")


def test_words_for_an_interval_below_zero():
    words = said(
        dict(zip(ALL_TASKS, (-0.3, -0.31, -0.29, -0.3), strict=True)), methods=("nap", "exact")
    )
    assert words["Does the source help?"].startswith("No, it harms: CPR −0.30 [")
    better = words["Is there something better?"]
    assert better.startswith("Yes: no source and target only.")
    assert "No source: trained in the same way on the same tasks, but with constant" in better
    elsewhere = "Transferred minus no source elsewhere in the study: CPR −0.30 [−0.31, −0.29], CMD"
    assert elsewhere in words["Limits"]
    assert "(method exact)." in words["Limits"]


def test_words_for_other_pairs_and_methods():
    there, back = PairSpec("toy-small", "toy-large"), PairSpec("toy-large", "toy-small")
    two = said(SAME, pairs=(there, back))
    assert "elsewhere in the study: CPR +0.30 [" in two["Limits"]
    assert "(toy-large -> toy-small)." in two["Limits"]
    assert "Repeat it on other pairs of models: 2 say little about others." in two["Next"]
    many = said(SAME, pairs=(there, back), methods=("nap", "exact", "nap-ig-inputs"))
    assert (
        "Verdict against no source for 5 other choices of pair, method or settings: better in 5."
        in many["Limits"]
    )
    one_seed = said(
        SAME, pairs=(there, back), methods=("nap", "exact", "nap-ig-inputs"), seeds=(0,)
    )
    assert "settings: no verdict in 5." in one_seed["Limits"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of one value there is no spread
def test_words_for_one_task():
    words = said({"ioi": 0.3})
    assert "intervals that resample 2 seeds and the test pairs." in words["Result"]
    assert "One family of tasks says nothing about other families" in words["Limits"]


# The file --------------------------------------------------------------------------------------


def test_the_file_is_whole_and_asks_no_host(html, page):
    assert len(html.encode()) < 8e6
    for tag, attrs in page.elements:
        for name in ("src", "srcset", "data", "action", "poster"):
            assert name not in attrs, (tag, attrs)
        target = attrs.get("href")
        assert target is None or target.startswith(("#", "data:")), target
        assert not any(name.startswith("on") for name in attrs), attrs
    style = "".join(re.findall(r"<style>(.*?)</style>", html, re.S))
    assert "@import" not in style
    assert "url(" not in style
    assert sum("plotly.js v" in script for script in page.scripts) == 1
    assert sum("var CircuitsVis=" in script for script in page.scripts) == 1


def test_the_policy_allows_these_scripts_and_no_request(page):
    (policy,) = [
        meta["content"]
        for meta in page.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert "default-src 'none'" in policy
    allowed = re.search(r"script-src ([^;]*);", policy)
    assert allowed
    kinds = [attrs.get("type") for attrs in page.all("script")]
    run = [text for text, kind in zip(page.scripts, kinds, strict=True) if kind is None]
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in run
    }
    assert set(allowed[1].split()) == hashes
    assert "connect-src" not in policy  # default-src 'none' holds for it


def test_structure_for_keyboards_and_screen_readers(page):
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    identifiers = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(identifiers) == len(set(identifiers))
    targets = [str(attrs["href"])[1:] for attrs in page.all("a")]
    assert set(targets) <= set(identifiers)
    assert targets[:2] == ["main", "terms"]  # the skip link comes first
    sections = [attrs["id"] for attrs in page.all("section")]
    assert targets[2:] == sections
    plots = [attrs for attrs in page.all("div") if attrs.get("class") == "plot"]
    assert len(plots) >= 9
    assert all(attrs["role"] == "img" and len(str(attrs["aria-label"])) > 20 for attrs in plots)
    assert len(page.all("caption")) == len(page.all("table")) - 2  # two in attention views
    assert all(attrs.get("scope") for attrs in page.all("th"))
    assert page.open == []


def test_every_kind_of_figure_is_there(page):
    figures = {attrs["id"] for attrs in page.all("figure")}
    of_one_pair = [figure for figure in FIGURES if figure.per != "several pairs"]
    assert figures == {f"figure-{figure.name}" for figure in of_one_pair}
    assert {"figure-curves", "figure-circuit-graph", "figure-alignment-map"} <= figures
    assert "Not drawn" not in page.text


def test_tables_hold_the_study_s_numbers(study, html):
    body = re.search(r'<table id="table-overall".*?</table>', html, re.S)
    assert body
    cells = re.findall(r'<td[^>]*data-sort="(.*?)">(.*?)</td>', body[0])
    table = analysis.overall(study).frame
    differences = [float(sort) for sort, text in cells if re.fullmatch(r"[+−]?\d\.\d\d", text)]
    assert set(table["difference"]) <= set(differences)
    for row in table.to_dict("records"):
        limits = f"[{signed(row['low'])}, {signed(row['high'])}]"
        assert limits in {text for _, text in cells}


def test_averages_have_an_interval_over_tasks(study, html):
    frame = analysis.leaderboard(study).frame
    wider = with_average_intervals(frame, study.config)
    assert list(wider.columns).index("average low") == list(wider.columns).index("average") + 1
    for row in wider.to_dict("records"):
        values = np.array([row[task] for task in TASKS])
        limits = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert (row["average low"], row["average high"]) == pytest.approx(limits)
        shown = "[{:.2f}, {:.2f}]".format(*limits).replace("-", "−")
        assert shown in html
    holes = frame.assign(**{TASKS[1]: float("nan")})
    assert with_average_intervals(holes, study.config)["average low"].isna().all()
    assert "average low" not in analysis.leaderboard(study).frame


def test_settings_versions_and_how_to_reproduce(study, page):
    assert str(study.versions["torch"]) in page.text
    for digest in study.model_hashes.values():
        assert digest in page.text
    assert "dfa-tl study study.yaml --out study" in page.text
    assert "train_pairs: 8" in page.text
    listing = next(text for text in page.texts if text.startswith("pairs:"))
    assert StudyConfig.from_dict(yaml.safe_load(listing)) == study.config


def test_attention_patterns_of_the_caller(page, toy_small):
    blocks = [json.loads(text) for text in page.scripts if text.startswith('{"component"')]
    assert [block["component"] for block in blocks[:2]] == ["AttentionHeads"] * 2
    pair = load_task("ioi", n=1, split="test").pairs[0]
    patterns = attention_patterns(toy_small, pair, HEADS)
    shown = np.array(blocks[0]["props"]["attention"])
    np.testing.assert_allclose(shown, patterns.clean.numpy(), atol=5e-4)
    assert "heads of toy-small" in page.text


# Further pairs and methods ----------------------------------------------------------------------


def test_further_methods_are_folded_below_the_first(report_files):
    page = Page(report_files["hostile"].read_text(encoding="utf-8"))
    figures = [str(attrs["id"]) for attrs in page.all("figure")]
    assert [name for name in figures if name.endswith("-2")] == [
        "figure-curves-2", "figure-controls-2", "figure-cost-2",
    ]  # fmt: skip
    folded = [one for one in page.all("details") if one.get("class") == "further"]
    assert len(folded) == 3  # cross-task has nothing to fold
    assert "Figures of other pairs and methods are folded below these." in page.text
    assert "leaves out" not in page.text


def test_one_pair_and_method_have_none_further(page):
    assert {"class": "further"} not in page.all("details")
    assert "other pairs and methods" not in page.text


@pytest.mark.parametrize("pairs", [("a -> b",), ("a -> b", "b -> a")])
def test_recovery_by_size_ratio_needs_several_pairs(pairs):
    results = StandIn(pairs=pairs)
    results.source_scores, results.scores = (lambda *_: range(4)), (lambda *_: {"gold": range(8)})
    found = draw_section("faithfulness", Subject(results, "a -> b", "nap", "ioi", "zero-shot"))
    drawn = {one.id for one in found if isinstance(one, Drawing)}
    assert ("figure-recovery-by-gap" in drawn) == (len(pairs) > 1)


def of_pair_and_method(subject: Subject) -> list:
    return [draw(figure, subject) for figure in FIGURES if figure.per == "pair and method"]


@pytest.fixture(scope="module")
def several() -> SimpleNamespace:
    """Two pairs and two methods, and the sections that have figures of the first."""
    results = StandIn(pairs=("a -> b", "b -> a"))
    subject = Subject(results, "a -> b", "nap", "ioi", "zero-shot")
    first = of_pair_and_method(subject)
    shown = [
        Section("faithfulness", "", "First.", drawings=tuple(first[:1])),
        Section("terms", "", "Terms.", terms=(("node", "a head"),)),
        Section("rest", "", "Rest.", drawings=tuple(first[1:])),
    ]
    return SimpleNamespace(subject=subject, shown=shown, of_one=first)


def furthered(several, most) -> tuple[list[Section], list[str]]:
    sections = with_further_figures(several.shown, several.subject, size=1000, limit=most)
    return sections, [one.title for part in sections for one in part.further]


@pytest.mark.slow
def test_every_pair_and_method_where_there_is_room(several):
    sections, titles = furthered(several, 10**8)
    assert [one.id for one in sections[0].further] == [f"figure-curves-{n}" for n in (2, 3, 4)]
    assert [title.partition(":")[0] for title in titles[:3]] == [
        "a -> b, exact", "b -> a, nap", "b -> a, exact",
    ]  # fmt: skip
    assert [part.text for part in sections[1:]] == ["Terms.", "Rest."]
    assert sections[1].further == ()
    assert len(titles) == 3 * len(several.of_one)
    assert "leaves out" not in sections[0].text
    # Each is of what its title says: its data are those of a figure drawn by itself.
    alone = of_pair_and_method(replace(several.subject, pair="b -> a", method="exact"))
    assert sections[0].further[2].data == alone[0].data
    assert sections[2].further[-1].data == alone[-1].data


@pytest.mark.slow
def test_what_is_left_out_of_a_full_report_is_said(several):
    _, whole = furthered(several, 10**8)
    sizes = [len(one.data) for one in several.of_one]
    sections, titles = furthered(several, 1000 + round(1.5 * sum(sizes)) + 20000)
    assert set(titles) == {title for title in whole if title.startswith("a -> b, exact")}
    assert "folded below these" in sections[0].text
    assert sections[0].text.endswith(
        "To keep this file below 0 MB, it leaves out the figures of b → a with nap; "
        "b → a with exact."
    )
    sections, titles = furthered(several, 1000)
    assert titles == []
    assert "folded" not in sections[0].text
    assert "figures of a → b with exact; b → a with nap; b → a" in sections[0].text


@pytest.mark.slow
def test_a_report_stays_below_its_most_bytes(small_studies, report_files, tmp_path, monkeypatch):
    size = report_files["hostile"].stat().st_size
    monkeypatch.setattr("dfa_tl.report.page.MOST_BYTES", size)
    path = write_report(small_studies["hostile"], tmp_path / "report.html")
    assert path.stat().st_size < size
    text = Page(path.read_text(encoding="utf-8")).text
    assert "To keep this file below" in text
    assert f"figures of {small_studies['hostile'].config.pairs[0].name.replace('->', '→')}" in text


# What comes from outside, and what is missing ---------------------------------------------------


def test_names_from_outside_bring_in_no_markup(report_files):
    page = Page(report_files["hostile"].read_text(encoding="utf-8"))
    assert "img" not in [tag for tag, _ in page.elements]
    assert MARKUP in page.text
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert len(page.all("figure")) >= 8
    for text in page.scripts:
        assert MARKUP not in text


def without(study: StudyResults, folder, is_lost) -> StudyResults:
    """A copy of the study without the results of some jobs."""
    shutil.copytree(study.folder, folder)
    for manifest in folder.glob("jobs/*/*/manifest.json"):
        content = json.loads(manifest.read_text())
        if is_lost(content["kind"], content["settings"]):
            shutil.rmtree(manifest.parent)
    return StudyResults.load(folder)


def test_a_study_with_nothing_measured(study, tmp_path):
    left = without(study, tmp_path / "empty", lambda kind, _: kind == "evaluate")
    failure = Failure("align(x)", "Traceback\nRuntimeError: <b>lights out</b>")
    results = replace(left, failures=(failure,))
    page = Page(write_report(results, tmp_path / "report.html").read_text(encoding="utf-8"))
    n_jobs = len(results.jobs)
    missing = len(results.missing)
    assert 0 < missing < n_jobs
    assert f"{missing} of {n_jobs} jobs have no result" in page.text
    assert "evaluate(pair=toy-small → toy-large" in page.text
    assert "1 job failed." in page.text
    assert "align(x): RuntimeError: <b>lights out</b>" in page.text
    assert "claimed yet. Measured so far: nothing; zero-shot is missing." in page.text
    assert "How to reproduce" in page.text
    assert page.all("figure") == []


@pytest.mark.slow
def test_a_study_of_which_parts_are_missing(study, tmp_path):
    """One task is not measured, and what its circuits were made from is gone."""

    def is_lost(kind, settings):
        return kind == "align" or (kind == "evaluate" and settings["data"]["task"] == TASKS[1])

    results = without(study, tmp_path / "part", is_lost)
    page = Page(write_report(results, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert f"This study is not complete: {len(results.missing)} of" in page.text
    assert "Mean of 1 task, with 95%" in page.text
    assert "intervals that resample the test pairs" in page.text
    assert "Not drawn (W): the result of align" in page.text
    assert {"id": "figure-curves", "class": "drawing"} in page.all("figure")


def circuit_of(results) -> Subject:
    return Subject(results, SMALL.pairs[0].name, "nap", TASKS[0], "zero-shot")


def test_the_circuit_s_task_is_not_measured(study, tmp_path):
    results = without(
        study,
        tmp_path / "part",
        lambda kind, settings: kind == "evaluate" and settings["data"]["task"] == TASKS[0],
    )
    found = draw_section("circuit", circuit_of(results))
    assert [type(one).__name__ for one in found] == ["NotDrawn"] * 7


@pytest.mark.slow
def test_from_a_shell(study, tmp_path):
    folder = shutil.copytree(study.folder, tmp_path / "study")
    result = CliRunner().invoke(app, ["report", str(folder)])
    assert result.exit_code == 0, result.output
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "toy-large: heads among the 12 best nodes of its zero-shot ioi circuit" in text
    without(study, tmp_path / "empty", lambda kind, _: kind == "evaluate")
    file = tmp_path / "plain.html"
    plain = CliRunner().invoke(app, ["report", str(tmp_path / "empty"), "--out", str(file)])
    assert plain.exit_code == 0, plain.output
    assert "no attention views: no circuits were measured" in plain.output
    assert "var CircuitsVis" not in file.read_text(encoding="utf-8")
    missing = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert missing.exit_code == 1
    assert "does not describe a study" in missing.output


# Parts -----------------------------------------------------------------------------------------


def test_a_slider_leaves_the_figure_for_the_page():
    figure = go.Figure(go.Scattergl(x=[1, 2], y=[3, 4]))
    steps = [
        {
            "label": str(n),
            "method": "update",
            "args": [{"visible": [True]}, {"title.text": f"k={n}"}],
        }
        for n in range(3)
    ]
    figure.update_layout(
        sliders=[{"active": 1, "steps": steps}], title={"text": "k=1"}, width=900, height=600,
        margin={"t": 90, "b": 150, "r": 20}, meta={"alt": "what it shows"},
    )  # fmt: skip
    one = drawing("figure-x", figure, "A circuit")
    data = json.loads(one.data)
    assert (one.title, one.alt, one.steps) == ("A circuit", "what it shows", ("k=0", "k=1", "k=2"))
    assert data["start"] == 1
    assert data["steps"][2] == {
        "text": "k=2",
        "method": "update",
        "args": [{"visible": [True]}, {}],
    }
    assert not {"sliders", "title", "width"} & set(data["layout"])
    assert data["data"][0]["type"] == "scatter"
    assert figure.layout.sliders  # the caller's figure is as it was
    assert figure.data[0].type == "scattergl"


def test_figure_data_cannot_end_their_script():
    figure = go.Figure(go.Scatter(x=[1], y=[2], text=["</script><b>&\u2028"]), {"title": MARKUP})
    one = drawing("figure-x", figure, "heading")
    assert not set("<>&\u2028") & set(one.data)
    assert json.loads(one.data)["data"][0]["text"] == ["</script><b>&\u2028"]


@pytest.mark.slow
def test_a_pair_through_models_in_between_draws_its_last_step(study):
    """A chain has several W: the figures are of the last one and the scores that enter it."""
    pair = study.config.pairs[0].name
    whole = study.alignment(pair, "ioi", "nap")
    plain = {one.id: one for one in draw_section("circuit", circuit_of(study))}

    class Chained:
        """The study, with its alignment as a chain of itself after an identity."""

        def __getattr__(self, name):
            return getattr(study, name)

        def alignment(self, *arguments, **options):
            size = len(whole.source)
            same = replace(
                whole, W=torch.eye(size), target=whole.source, history=None,
                config=replace(whole.config, normalization="none"),
                provenance={"target": "toy-small"},
            )  # fmt: skip
            return AlignmentChain((same, whole))

    for one in draw_section("circuit", circuit_of(Chained())):
        assert isinstance(one, Drawing)
        if one.id == "figure-circuit-graph":
            # Scores that enter the last W are themselves carried over: they are shown by rank.
            names = [
                [trace.get("name") for trace in json.loads(each.data)["data"]]
                for each in (one, plain[one.id])
            ]
            assert names[0] == names[1]
            assert names[0]
        else:
            assert one.data == plain[one.id].data, one.id


def test_signed():
    assert [signed(v) for v in (0.004, -0.004, 0.1, -1.0)] == ["0.00", "0.00", "+0.10", "−1.00"]


def test_cells_of_a_report_have_arrows_and_minus_signs():
    frame = pd.DataFrame({"pair": ["a -> b-c", None], "difference": [-0.1, None]})
    cells = [cell for column in analysis.Table(frame).columns() for cell in column.cells]
    assert [typeset(cell) for cell in cells] == ["a → b-c", "-", "−0.10", "-"]
