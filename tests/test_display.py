"""What objects look like in a notebook and at a prompt: content, escaping, size."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dfa_tl import (
    Alignment,
    AlignmentConfig,
    AlignmentHistory,
    FaithfulnessCurve,
    NodeScores,
    NodeSet,
    display,
)
from dfa_tl.analysis.render import Table
from dfa_tl.study import PairSpec, StudyConfig, StudyResults
from dfa_tl.study.schedule import Failure

EVIL = '<img src=x onerror="alert(1)">'
SMALL, LARGE = NodeSet(2, 2), NodeSet(3, 4)


class Page(HTMLParser):
    """The tags and texts of some HTML; closing tags must match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def scores(name: str = "toy") -> NodeScores:
    values = torch.tensor([0.5, -1.0, 0.0, 0.25, 0.05, 0.75])  # a0.h0 a0.h1 m0 a1.h0 a1.h1 m1
    provenance = {"model": name, "task": "ioi", "method": "nap"}
    return NodeScores(SMALL, values, provenance=provenance)


def curve(name: str = "toy", ks=(0.0, 0.5, 1.0)) -> FaithfulnessCurve:
    pair_values = np.array([[0.0, 0.0], [2.0, 4.0], [4.0, 4.0]])
    return FaithfulnessCurve(
        ks, (0, 3, 6), pair_values, np.full(2, 4.0), np.zeros(2), metric="logit_diff",
        provenance={"model": name, "task": "ioi"},
    )  # fmt: skip


def alignment(name: str = "toy", steps: int = 3) -> Alignment:
    W = torch.zeros(len(SMALL), len(LARGE))
    W[0, 0], W[1, 1], W[5, 14] = 3.0, -3.0, 4.8  # layer 0 to layer 0 twice, layer 1 to layer 2
    loss = torch.linspace(2, 1, steps)
    history = AlignmentHistory(loss, loss / 2, loss / 4, ("ioi",) * steps)
    provenance = {"source": name, "target": "big", "tasks": ["ioi", name]}
    return Alignment(W, SMALL, LARGE, AlignmentConfig(), history, provenance)


def results(folder: Path, rows: list[dict] | None = None, name: str = "toy-small") -> StudyResults:
    config = StudyConfig(pairs=(PairSpec(name, "toy-large"),), tasks=("ioi",))
    study = StudyResults(folder, config, {})
    study.__dict__["evaluations"] = [] if rows is None else ["a job"]
    study.__dict__["_frame"] = pd.DataFrame(rows or [])
    return study


def row(pair: str, regime: str, cpr: float) -> dict:
    return {
        "pair": pair, "method": "nap-ig-inputs", "regime": regime, "variant": "default",
        "test_task": "ioi", "seed": 0, "cpr": cpr, "cmd": 1 - cpr, "floor": 0.025,
        "protocol": "nodes",
        "ranking": "signed", "metric": "logit_diff", "grid": "linear",
    }  # fmt: skip


def test_scores_name_the_best_nodes_in_order():
    page = Page(scores()._repr_html_())
    assert "toy ioi nap" in page.text
    assert "highest: a0.h0" not in page.text
    assert "highest: m1 +0.75, a0.h0 +0.5, a1.h0 +0.25, a1.h1 +0.05, m0 +0, a0.h1 -1" in page.text


def shades(page: Page) -> dict[tuple[int, int], tuple[str, str]]:
    """Colour and opacity of each shaded cell, by column and row; row 0 is the upper one."""
    return {
        (int(x), int(y)): (str(path["fill"]), str(path["fill-opacity"]))
        for path in page.named("path")
        if path.get("fill") in (display.POSITIVE, display.NEGATIVE)
        for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", str(path["d"]))
    }


def test_heat_map_shades_values_by_their_square_root():
    page = Page(scores()._repr_html_())
    (svg,) = page.named("svg")
    assert svg["viewbox"] == "0 0 4 2"  # two heads, a gap and the MLP; two layers
    blue, orange = display.POSITIVE, display.NEGATIVE
    # Layer 0 is the lower row. Fifths of sqrt(|score| / 1): .5 has four, .25 and .05 two and one.
    assert shades(page) == {
        (0, 1): (blue, "0.8"), (1, 1): (orange, "1.0"),
        (0, 0): (blue, "0.4"), (1, 0): (blue, "0.2"), (3, 0): (blue, "0.8"),
    }  # fmt: skip
    (cells,) = (path["d"] for path in page.named("path") if path["fill"] == "currentColor")
    assert cells == "M0 0h2v1h-2zM3 0h1v1h-1zM0 1h2v1h-2zM3 1h1v1h-1z"  # all but the gap


def test_scores_that_are_all_zero_are_a_blank_map():
    assert shades(Page(NodeScores(SMALL, torch.zeros(6))._repr_html_())) == {}


def test_curve_shows_its_areas_and_its_points():
    page = Page(curve()._repr_html_())
    # f is 0, 3/4, 1 at k = 0, 1/2, 1.
    for text in ("toy ioi", "CPR 0.625 (floor 0.250)", "CMD 0.375", "nodes", "2 pairs"):
        assert text in page.text
    (line,) = page.named("polyline")
    points = [tuple(map(float, point.split(","))) for point in str(line["points"]).split()]
    assert points == [(4.0, 56.0), (120.0, 17.0), (236.0, 4.0)]  # y runs downwards


def test_a_node_without_a_score_is_a_gap():
    some = NodeScores(SMALL, torch.ones(6), unscored=("a1.h0",))
    page = Page(some._repr_html_())
    assert "1 without a score" in page.text
    assert set(shades(page)) == {(0, 1), (1, 1), (3, 1), (1, 0), (3, 0)}


def test_long_and_short_curves():
    line = Page(display.sparkline(range(10_000), [0.0] * 9_999 + [1.0], "")).named("polyline")[0]
    points = str(line["points"]).split()
    assert 200 < len(points) < 250
    assert points[-1] == "236.0,4.0"  # the last point is there
    assert len(Page(alignment(steps=1)._repr_html_()).named("polyline")) == 1


def test_k_is_logarithmic_where_it_can_be():
    assert display.log_where_positive((0.0, 0.5, 1.0)) == [0.0, 0.5, 1.0]
    assert display.log_where_positive((0.1, 1.0)) == pytest.approx([math.log(0.1), 0.0])
    assert "from 0.1 to 1 (log)" in Page(curve(ks=(0.1, 0.5, 1.0))._repr_html_()).text
    assert "(log)" not in Page(curve()._repr_html_()).text


def test_alignment_shows_which_layers_it_connects():
    page = Page(alignment()._repr_html_())
    assert "toy -> big" in page.text
    assert "loss by step, from 2 to 1; mean mask at the end 0.25" in page.text
    # Target layer 2 is the top row. The first block's entries sum to 6, the other's to 4.8.
    assert shades(page) == {(0, 2): (display.POSITIVE, "1.0"), (1, 0): (display.POSITIVE, "0.8")}
    assert "full at 0.4" in page.text  # 6 over the 15 entries of a block


def test_an_alignment_that_was_not_trained_says_so():
    W = torch.zeros(len(SMALL), len(LARGE))
    page = Page(Alignment(W, SMALL, LARGE)._repr_html_())
    assert "not trained" in page.text
    assert page.named("polyline") == []


def test_a_chain_shows_its_steps():
    second = Alignment(torch.zeros(len(LARGE), len(SMALL)), LARGE, SMALL)
    chain = alignment().then(second)
    assert repr(chain) == "AlignmentChain(6 -> 15 -> 6 nodes)"
    assert len(Page(chain._repr_html_()).named("svg")) == 3  # two maps, one of them with a curve


def test_study_shows_its_size_and_mean_results(tmp_path):
    pair = "toy-small -> toy-large"
    study = results(tmp_path, [row(pair, "gold", 0.777), row(pair, "zero-shot", 0.555)])
    page = Page(study._repr_html_())
    assert "1 pair · 1 task · 1 method · 1 seed" in page.text
    assert all(text in page.text for text in ("0.777", "0.555", "gold", "cmd"))
    assert repr(study) == f"StudyResults({tmp_path}: 1 pair, 1 task, 1 method, 1 seed)"
    assert "no measured circuits yet" in results(tmp_path)._repr_html_()


def test_failed_jobs_are_counted(tmp_path):
    config = results(tmp_path).config
    failures = (Failure("job", "why"), Failure("other", "why"))
    assert "2 failed jobs" in repr(StudyResults(tmp_path, config, {}, failures=failures))


def test_long_tables_are_cut():
    table = Table(pd.DataFrame({"name": [f"row{n};" for n in range(50)], "x": 0.5}), "A table")
    page = Page(table._repr_html_())
    assert "10 more rows" in page.text
    assert ("row39;" in page.text, "row40;" in page.text) == (True, False)


def evil_objects(folder: Path) -> list:
    return [
        scores(EVIL),
        curve(EVIL),
        alignment(EVIL),
        alignment(EVIL).then(Alignment(torch.zeros(15, 6), LARGE, SMALL)),
        Table(pd.DataFrame({EVIL: [EVIL]}), EVIL),
        results(folder / EVIL.replace("/", ""), [row(f"{EVIL} -> toy-large", "gold", 0.5)], EVIL),
    ]


def test_names_are_escaped(tmp_path):
    for each in evil_objects(tmp_path):
        page = Page(each._repr_html_())
        assert page.named("img") == [], each
        assert EVIL in page.text, each  # shown, not swallowed
        assert not any("onerror" in attributes for _, attributes in page.tags)


def test_no_colour_is_assumed_of_the_page(tmp_path):
    for each in evil_objects(tmp_path):
        for tag, attributes in Page(each._repr_html_()).tags:
            style = attributes.get("style") or ""
            assert "background" not in style
            assert not re.search(r"(^|;)color:", style), tag


def test_representations_are_one_short_line():
    long = "a name\nthat goes on " * 30
    chain = alignment(long).then(Alignment(torch.zeros(15, 6), LARGE, SMALL))
    for each in (scores(long), curve(long), alignment(long), chain, results(Path(long))):
        assert "\n" not in repr(each)
        assert len(repr(each)) < 250


def test_a_large_model_stays_small():
    nodes = NodeSet(80, 64)
    values = torch.randn(len(nodes), generator=torch.Generator().manual_seed(0))
    assert len(NodeScores(nodes, values)._repr_html_()) < 100_000
    assert len(scores()._repr_html_()) < 2_000
    assert len(curve()._repr_html_()) < 2_000
    assert len(alignment()._repr_html_()) < 3_000
