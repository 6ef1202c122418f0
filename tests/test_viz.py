"""Curves, the theme that all figures share, and saving."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from scipy import stats

import dfa_tl
from dfa_tl import LINEAR_KS, MIB_KS, FaithfulnessCurve
from dfa_tl.controls.registry import CONTROLS
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.intervals import Bootstrap
from dfa_tl.viz import faithfulness_curves, save_figure
from dfa_tl.viz.export import ExportError
from dfa_tl.viz.theme import COLORS, DIVERGING, SEQUENTIAL, circuit_label, circuit_style, log_ticks


def curve(level: float, ks=MIB_KS) -> FaithfulnessCurve:
    values = np.tile(np.array([[level]] * (len(ks) - 1) + [[1.0]]), (1, 3))
    return FaithfulnessCurve(ks, tuple(range(len(ks))), values, np.ones(3), np.zeros(3))


def noisy(n: int = 400, seed: int = 0) -> FaithfulnessCurve:
    """One pair's m(C) at three k is normal around .2, .5 and .9; m(clean) = 1, m(corrupt) = 0."""
    rng = np.random.default_rng(seed)
    values = np.array([[0.2], [0.5], [0.9]]) + rng.normal(0, 0.4, (3, n))
    return FaithfulnessCurve((0.1, 0.5, 1.0), (1, 5, 10), values, np.ones(n), np.zeros(n))


def lines(figure: go.Figure) -> list:
    return [trace for trace in figure.data if trace.mode == "lines+markers"]


def filled(figure: go.Figure) -> list:
    return [trace for trace in figure.data if trace.fill]


def test_viz_is_reached_by_name():
    assert dfa_tl.viz.faithfulness_curves is faithfulness_curves
    with pytest.raises(AttributeError, match="no attribute 'vis'"):
        dfa_tl.vis  # noqa: B018


def test_one_panel_per_task_with_cpr_in_the_legend():
    default = pio.templates.default
    panels = {
        task: {"gold": curve(0.9), "aligned": curve(0.5)} for task in ("ioi", "mcqa", "a", "b")
    }
    figure = faithfulness_curves(panels, title="transfer")
    named = lines(figure)
    assert len(named) == 8
    assert named[0].name == f"gold (mean CPR {curve(0.9).cpr:.2f})"
    assert list(named[0].y) == pytest.approx([0.9] * 9 + [1])
    assert {trace.line.color for trace in named if "gold" in trace.name} == {named[0].line.color}
    floors = [trace for trace in figure.data if trace.name == "floor (CPR 0.25)"]
    assert [list(trace.y) for trace in floors] == [[0, 1]] * 4
    assert [list(trace.x) for trace in floors] == [[0.5, 1]] * 4
    assert "ioi" in figure.layout.annotations[0].text
    parity = [shape for shape in figure.layout.shapes if shape.y0 == 1]
    assert len(parity) == 4
    assert pio.templates.default == default
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert len(shown) == 3  # one legend: gold, aligned, floor
    assert figure.layout.legend.orientation == "h"


def test_the_alternative_text_has_the_numbers():
    panels = {"ioi": {"gold": curve(0.9)}, "mcqa": {"gold": curve(0.5), "other": curve(0.1)}}
    alt = faithfulness_curves(panels).layout.meta["alt"]
    assert "gold 0.62 to 0.92" in alt
    assert "other 0.32" in alt  # .1 (.5 - .001) + .5 (.1 + 1) / 2
    assert "floor 0.25" in alt
    assert alt.endswith(".")


@pytest.mark.parametrize("shape", ["single", "flat", "nested"])
def test_a_curve_and_a_mapping_are_panels_too(shape):
    given = {"single": curve(0.4), "flat": {"mine": curve(0.4)}, "nested": {"t": {"g": curve(0.4)}}}
    figure = faithfulness_curves(given[shape])
    (trace,) = lines(figure)
    assert list(trace.y) == pytest.approx([0.4] * 9 + [1])
    assert figure.layout.legend.x > 1  # beside a single panel, not over it


def test_k_is_logarithmic_only_where_it_can_be():
    assert faithfulness_curves({"t": {"g": curve(0.5)}}).layout.xaxis.type == "log"
    linear = faithfulness_curves({"t": {"g": curve(0.5, LINEAR_KS)}})
    assert linear.layout.xaxis.type == "linear"
    assert faithfulness_curves(curve(0.5), log_k=False).layout.xaxis.type == "linear"


def test_bands_are_intervals_over_pairs():
    """Against the t interval of a mean, which the bootstrap comes to for many normal pairs."""
    given = noisy()
    figure = faithfulness_curves({"g": given}, bands=0.9)
    (band,) = filled(figure)
    assert list(band.x) == [0.1, 0.5, 1.0, 1.0, 0.5, 0.1]
    low, high = np.array(band.y[:3]), np.array(band.y[3:])[::-1]
    means = given.pair_values.mean(axis=1)
    half = stats.t.ppf(0.95, 399) * given.pair_values.std(axis=1, ddof=1) / np.sqrt(400)
    np.testing.assert_allclose(low, means - half, atol=0.1 * half.max())
    np.testing.assert_allclose(high, means + half, atol=0.1 * half.max())
    same = faithfulness_curves({"g": given}, bands=Bootstrap(level=0.9))
    assert filled(same)[0].y == band.y
    wider = filled(faithfulness_curves({"g": given}, bands=0.99))[0]
    assert wider.y[0] < band.y[0]
    assert not filled(faithfulness_curves({"g": given}))


def test_bands_leave_out_what_has_no_limits():
    one_pair = replace(
        noisy(), pair_values=noisy().pair_values[:, :1], clean=np.ones(1), corrupt=np.zeros(1)
    )
    (band,) = filled(faithfulness_curves(one_pair, bands=0.9))
    assert len(band.x) == 0


def test_draws_are_a_band_from_the_lowest_to_the_highest():
    levels = (0.1, 0.4, 0.2)
    draws = [curve(level) for level in levels]
    figure = faithfulness_curves({"gold": curve(0.9), "random W": draws}, bands=0.9)
    band = filled(figure)[0]
    assert list(band.y) == pytest.approx([0.1] * 9 + [1, 1] + [0.4] * 9)
    mean = np.mean([one.cpr for one in draws])
    assert band.name == f"random W, 3 draws (CPR {mean:.2f})"
    assert figure.data[0] is band  # under the curves
    low, high = draws[0].cpr, draws[1].cpr
    assert f"random W {low:.2f} to {high:.2f}" in figure.layout.meta["alt"]
    with pytest.raises(ConfigError, match="the same ks"):
        faithfulness_curves({"random W": [curve(0.5), curve(0.5, LINEAR_KS)]})
    with pytest.raises(ConfigError, match="the same ks"):
        faithfulness_curves({"t": {"gold": curve(0.5), "random W": []}})


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        (MIB_KS, ["0.001", "0.01", "0.1", "1"]),
        ((0.0, 0.1, 0.9), ["0.1", "0.2", "0.5", "1", "2", "5"]),
        ((3, 4000), ["1", "10", "100", "1,000", "10,000"]),
        ((0.0,), []),
    ],
)
def test_ticks_of_a_logarithmic_axis(values, ticks):
    assert list(log_ticks(values).get("ticktext", [])) == ticks


def test_circuits_have_one_name_in_all_figures():
    assert circuit_label("uniform_s") == "no source"
    assert circuit_label("uniform_s (all)") == "no source (all)"
    assert circuit_label("target_only") == "target only"
    assert circuit_label("random_W") == "random W"
    assert circuit_label("zero-shot") == "DFA (zero-shot)"
    assert circuit_label("gold") == "gold"
    labels = [circuit_label(name) for name in CONTROLS]
    assert len(set(labels)) == len(labels)


def test_nothing_to_draw():
    for empty in ({}, {"ioi": {}}):
        with pytest.raises(ConfigError, match="nothing to draw"):
            faithfulness_curves(empty)
    with pytest.raises(ConfigError, match=r"panels=.*expected a FaithfulnessCurve or a mapping"):
        faithfulness_curves({"ioi": {"gold": curve(0.5)}, "gold": curve(0.5)})


def luminance(color: str) -> float:
    """Relative luminance of a colour, after WCAG 2."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_theme_is_light_opaque_and_readable_in_grey():
    layout = faithfulness_curves(curve(0.5)).layout.template.layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "white"
    contrast = (1.05) / (luminance(layout.font.color) + 0.05)
    assert contrast > 7
    # Sequential colours only get darker; the diverging ends differ in lightness, zero is white.
    shades = [luminance(color) for _, color in SEQUENTIAL]
    assert shades == sorted(shades, reverse=True)
    assert dict(DIVERGING)[0.5] == "#FFFFFF"
    assert luminance(DIVERGING[0][1]) > 2 * luminance(DIVERGING[-1][1])
    # Circuits that are drawn together never share marker and dash.
    together = ("gold", "in-distribution", "near-distribution", "zero-shot", "all", "uniform_s")
    looks = [circuit_style(name) for name in together]
    assert len({(look.dash, look.marker) for look in looks}) == len(looks)
    assert len({look.color for look in looks}) == len(looks)
    assert len(set(COLORS)) == len(COLORS)


def test_a_page_needs_no_network_and_speaks(tmp_path):
    figure = faithfulness_curves({"a</script>b": {"gold": curve(0.5)}})
    path = save_figure(figure, tmp_path / "deep" / "figure.html", width=333)
    text = path.read_text()
    assert len(text) > 1_000_000  # plotly.js is inside
    assert "cdn.plot" not in text.split("</head>")[0] + text[-5000:]
    label = text.split("'aria-label', ")[1].split(");")[0]
    assert json.loads(label) == figure.layout.meta["alt"]
    assert "</script>b" not in text.split("'aria-label'")[1]
    assert '"width":333' in text
    assert figure.layout.width != 333


def test_unknown_suffixes_are_refused(tmp_path):
    for name in ("figure.gif", "figure"):
        with pytest.raises(ConfigError, match=r"html or as one of png, pdf, svg"):
            save_figure(faithfulness_curves(curve(0.5)), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_images_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(ExportError, match="pip install kaleido"):
        save_figure(faithfulness_curves(curve(0.5)), tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_images_without_a_browser(tmp_path, monkeypatch):
    class ChromeNotFoundError(Exception):
        pass

    def missing(*_, **__):
        raise ChromeNotFoundError("nowhere")

    monkeypatch.setitem(sys.modules, "kaleido", pytest)  # any module: it is only looked for
    monkeypatch.setattr(go.Figure, "to_image", missing)
    with pytest.raises(ExportError, match=r"Chrome or Chromium.*plotly_get_chrome"):
        save_figure(faithfulness_curves(curve(0.5)), tmp_path / "figure.pdf")

    def other(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(go.Figure, "to_image", other)
    with pytest.raises(ZeroDivisionError):
        save_figure(faithfulness_curves(curve(0.5)), tmp_path / "figure.pdf")


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<svg")]
)
def test_images(tmp_path, kind, start):
    pytest.importorskip("kaleido")
    path = save_figure(faithfulness_curves(curve(0.5)), tmp_path / f"figure.{kind}", scale=1)
    assert path.read_bytes().startswith(start)
    if kind == "svg":
        assert "circuit (CPR 0.62)" in path.read_text()
