from __future__ import annotations

import numpy as np
import plotly.io as pio
import pytest

from dfa_tl import LINEAR_KS, MIB_KS, FaithfulnessCurve
from dfa_tl.errors import ConfigError
from dfa_tl.viz import faithfulness_curves


def curve(level: float, ks=MIB_KS) -> FaithfulnessCurve:
    values = np.tile(np.array([[level]] * (len(ks) - 1) + [[1.0]]), (1, 3))
    return FaithfulnessCurve(ks, tuple(range(len(ks))), values, np.ones(3), np.zeros(3))


def test_one_panel_per_task_with_cpr_in_the_legend():
    default = pio.templates.default
    panels = {
        task: {"gold": curve(0.9), "aligned": curve(0.5)} for task in ("ioi", "mcqa", "a", "b")
    }
    figure = faithfulness_curves(panels, title="transfer")
    named = [trace for trace in figure.data if trace.name]
    assert len(named) == 8
    assert named[0].name == f"gold (CPR {curve(0.9).cpr:.2f})"
    assert list(named[0].y) == pytest.approx([0.9] * 9 + [1])
    assert {trace.line.color for trace in named if "gold" in trace.name} == {named[0].line.color}
    headings = [a.text for a in figure.layout.annotations]
    assert any("ioi" in text and "floor 0.25" in text for text in headings)
    assert {trace.hovertemplate for trace in figure.data if not trace.name} == {"floor"}
    assert len(figure.layout.shapes) == 8  # parity and zero in each panel
    assert pio.templates.default == default


def test_k_is_logarithmic_only_where_it_can_be():
    assert faithfulness_curves({"t": {"g": curve(0.5)}}).layout.xaxis.type == "log"
    linear = faithfulness_curves({"t": {"g": curve(0.5, LINEAR_KS)}})
    assert linear.layout.xaxis.type == "linear"


def test_nothing_to_draw():
    for empty in ({}, {"ioi": {}}):
        with pytest.raises(ConfigError, match="nothing to draw"):
            faithfulness_curves(empty)
