"""Figures of scores, of W and of its training, against plain loops."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from scipy import stats

from dfa_tl import (
    Alignment,
    AlignmentConfig,
    AlignmentHistory,
    FaithfulnessCurve,
    NodeScores,
    NodeSet,
)
from dfa_tl.errors import ConfigError, ScoresError
from dfa_tl.viz import (
    alignment_map,
    circuit_graph,
    circuit_overlap,
    rank_scatter,
    score_map,
    training_history,
    transfer_flow,
)
from dfa_tl.viz.kept_slider import faithfulness_at
from dfa_tl.viz.theme import DIVERGING, SEQUENTIAL

SMALL, LARGE = NodeSet(2, 3), NodeSet(4, 2)
EIGHT_BILLION = (NodeSet(16, 32), NodeSet(32, 32))


def random_scores(nodes: NodeSet, seed: int = 0) -> NodeScores:
    generator = torch.Generator().manual_seed(seed)
    return NodeScores(nodes, torch.randn(len(nodes), generator=generator))


def random_alignment(
    source: NodeSet = SMALL, target: NodeSet = LARGE, *, bias: bool = False, **settings
) -> Alignment:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(len(source), len(target), generator=generator)
    extra = torch.randn(len(target), generator=generator) if bias else None
    return Alignment(matrix, source, target, AlignmentConfig(**settings), bias=extra)


def products(alignment: Alignment, scores: NodeScores) -> np.ndarray:
    """s'_i W_ij under the centred normalisation, in plain numpy."""
    s = scores.values.double().numpy()
    s = (s - s.mean()) / s.std()
    return s[:, None] * alignment.W.double().numpy()


def curve(nodes: NodeSet, ks=(0.0, 0.25, 0.5, 1.0)) -> FaithfulnessCurve:
    values = np.array(ks)[:, None] ** 2 * np.ones(3)
    kept = tuple(int(k * len(nodes)) for k in ks)
    return FaithfulnessCurve(ks, kept, values, np.ones(3), np.zeros(3))


def test_score_map_puts_every_node_in_its_place():
    scores = random_scores(LARGE)
    figure = score_map(scores, title="gold")
    heads, mlps = figure.data[:2]
    assert list(heads.x) == [0, 1]
    assert list(mlps.x) == [2.5]
    table = scores.to_frame().set_index("node")
    for layer in range(4):
        assert mlps.z[layer][0] == pytest.approx(scores[f"m{layer}"])
        assert list(mlps.customdata[layer][0][:2]) == [f"m{layer}", table["rank"][f"m{layer}"]]
        for head in range(2):
            name = f"a{layer}.h{head}"
            assert heads.z[layer][head] == pytest.approx(scores[name])
            assert list(heads.customdata[layer][head]) == [
                name, table["rank"][name], scores[name],
            ]  # fmt: skip
    assert heads.zmin == -heads.zmax < 0
    assert heads.zmax == mlps.zmax
    marks = {(x, y) for trace in figure.data[2:] for x, y in zip(trace.x, trace.y, strict=True)}
    negative = {
        (2.5 if node.head is None else float(node.head), node.layer)
        for node in LARGE
        if scores[node] < -0.2 * heads.zmax
    }
    assert marks == negative != set()
    assert scores.top(1)[0].name in figure.layout.meta["alt"]


def test_score_maps_side_by_side_have_scales_of_their_own():
    big = NodeScores(SMALL, 1000 * random_scores(SMALL).values)
    figure = score_map({"source": big, "gold": random_scores(LARGE), "flat": random_scores(LARGE)})
    first, _, second = [trace for trace in figure.data if trace.type == "heatmap"][:3]
    assert first.zmax > 100 * second.zmax
    assert sum(trace.showscale for trace in figure.data if trace.type == "heatmap") == 1
    assert [note.text.split("<br>")[0] for note in figure.layout.annotations] == [
        "source", "gold", "flat",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["aligned nap", "target_only", "mean of nap"])
def test_scores_whose_sign_means_nothing_are_shown_by_rank(method):
    scores = NodeScores(LARGE, random_scores(LARGE).values - 9, provenance={"method": method})
    figure = score_map({"gold": random_scores(LARGE), "aligned": scores})
    gold, _, heads, mlps = [trace for trace in figure.data if trace.type == "heatmap"]
    table = scores.to_frame().set_index("node")
    shown = {"m0": mlps.z[0][0], "a2.h1": heads.z[2][1]}
    for name, value in shown.items():
        assert value == pytest.approx(-np.log10(table["rank"][name]))
    assert heads.zmax == 0 == mlps.zmax
    assert heads.zmin == pytest.approx(-np.log10(12))
    assert (gold.colorscale, heads.colorscale) == (DIVERGING, SEQUENTIAL)
    # Each kind of colour has a bar of its own, and no cell has a minus sign.
    bars = [trace.colorbar.title.text for trace in figure.data if trace.type == "heatmap"]
    assert (gold.showscale, heads.showscale, mlps.showscale) == (True, True, False)
    assert bars[0] == "score"
    assert bars[2] == "rank"
    marks = [trace.xaxis for trace in figure.data if trace.type == "scatter"]
    assert marks == ["x"]  # those of gold
    assert "shown by rank" in figure.layout.meta["alt"]


def test_an_outlier_does_not_bleach_the_map():
    values = torch.ones(len(EIGHT_BILLION[1]))
    values[0] = 100
    figure = score_map(NodeScores(EIGHT_BILLION[1], values))
    assert figure.data[0].zmax == pytest.approx(20)
    assert "full colour at 20, largest 100" in figure.layout.annotations[0].text
    assert score_map(NodeScores(LARGE, torch.zeros(len(LARGE)))).data[0].zmax == 1


def test_ranks():
    both = gold, aligned = random_scores(LARGE, 4), random_scores(LARGE, 3)
    figure = rank_scatter(aligned, gold)
    spearman = stats.spearmanr(aligned.values.numpy(), gold.values.numpy()).statistic
    assert figure.layout.title.text.endswith(f"Spearman {spearman:.2f}")
    found = {
        data[0]: (x, y)
        for trace in figure.data[:2]
        for x, y, data in zip(trace.x, trace.y, trace.customdata, strict=True)
    }
    for name in LARGE.names:
        ranks = [1 + sum(other > scores[name] for other in scores.values) for scores in both]
        assert found[name] == tuple(ranks)
    assert {data[0] for data in figure.data[1].customdata} == {"m0", "m1", "m2", "m3"}
    assert [text.strip() for text in figure.data[2].text] == [n.name for n in gold.top(5)]
    constant = NodeScores(LARGE, torch.ones(len(LARGE)))
    assert "undefined" in rank_scatter(constant, gold).layout.title.text
    with pytest.raises(ScoresError, match="8 nodes"):
        rank_scatter(random_scores(SMALL), gold)


def test_the_map_of_W_shows_every_entry():
    alignment = random_alignment()
    figure = alignment_map(alignment)
    (entries,) = [trace for trace in figure.data if trace.name == "all entries"]
    W = alignment.W.double().numpy()
    full = float(np.quantile(abs(W), 0.99))
    assert entries.z.dtype == np.int8  # a byte per entry
    assert entries.zmax == -entries.zmin == 127
    expected = np.clip(W / full, -1, 1)
    np.testing.assert_allclose(entries.z / 127, expected, atol=0.5 / 127 + 1e-9)
    assert entries.colorscale == DIVERGING
    assert entries.colorbar.ticktext[-1] == f"{full:.2g}"
    assert figure.layout.yaxis3.range == (-0.5, 7.5)  # the first source node is at the bottom


@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_of_W(weighted):
    alignment, scores = random_alignment(), random_scores(SMALL)
    figure = alignment_map(alignment, source_scores=scores if weighted else None)
    entries = products(alignment, scores) if weighted else alignment.W.double().numpy()
    maps = {trace.name: trace for trace in figure.data if trace.type == "heatmap"}
    for kind, other in (("heads", "heads"), ("heads", "MLP"), ("MLP", "heads"), ("MLP", "MLP")):
        for layer in range(2):
            for column in range(4):
                chosen = [
                    (abs(entries[i, j]), entries[i, j], sender, receiver)
                    for i, sender in enumerate(SMALL)
                    for j, receiver in enumerate(LARGE)
                    if (sender.layer, receiver.layer) == (layer, column)
                    and (sender.is_head, receiver.is_head) == (kind == "heads", other == "heads")
                ]
                trace = maps[f"{kind} to {other}"]
                mean = np.mean([size for size, *_ in chosen])
                assert trace.z[layer][column] == pytest.approx(mean, rel=1e-5)
                text = trace.text[layer][column]
                _, value, sender, receiver = max(chosen, key=lambda entry: entry[0])
                assert text.endswith(f"strongest {sender} to {receiver} {value:+.3g}")
                hover = maps["blocks of all entries"].text
                row = 2 * layer + (kind == "MLP")
                assert hover[row][2 * column + (other == "MLP")] == text
    assert list(maps["blocks of all entries"].x) == [-0.5, 1.5, 2.5, 4.5, 5.5, 7.5, 8.5, 10.5, 11.5]


@pytest.mark.slow
def test_figures_of_an_8B_target_stay_small():
    source, target = EIGHT_BILLION
    alignment, scores = random_alignment(source, target), random_scores(source)
    for figure in (
        alignment_map(alignment, source_scores=scores),
        circuit_graph(scores, alignment.transfer(scores), alignment),
        score_map({"source": scores, "aligned": alignment.transfer(scores)}),
        transfer_flow(alignment, scores),
        rank_scatter(alignment.transfer(scores), random_scores(target, 5)),
    ):
        assert len(figure.to_json()) < 2_000_000
        assert len(figure.data) < 80
    assert alignment_map(alignment).data[4].z.shape == (528, 1056)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("n", [3, 8, 50])
def test_the_links_into_a_target_node_add_up_to_its_score(n, bias):
    alignment, scores = random_alignment(bias=bias), random_scores(SMALL)
    sankey = transfer_flow(alignment, scores, n=n).data[0]
    labels, link = sankey.node.label, sankey.link
    predicted = alignment.transfer(scores)
    flow = products(alignment, scores)
    totals: dict[str, float] = {}
    colors: dict[bool, set[str]] = {True: set(), False: set()}
    for start, end, value, color, text in zip(
        link.source, link.target, link.value, link.color, link.customdata, strict=True
    ):
        signed = value * (1 if text.startswith("+") else -1)
        colors[signed > 0].add(color)
        totals[labels[end]] = totals.get(labels[end], 0.0) + signed
        if labels[start] in SMALL.names:
            expected = flow[SMALL.index(labels[start]), LARGE.index(labels[end])]
            assert signed == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert set(totals) == {node.name for node in predicted.top(n)}
    for name, total in totals.items():
        assert total == pytest.approx(predicted[name], abs=1e-4)
    assert len(colors[True]) == len(colors[False]) == 1
    assert colors[True] != colors[False]
    assert ("bias" in labels) == bias
    assert (f"{8 - n} others" in labels) == (n < 8)


def test_training_history():
    steps = 24
    tasks = ("ioi", "mcqa", "ioi") * 8
    numbers = torch.arange(steps, dtype=torch.float32)
    history = AlignmentHistory(10 - 0.1 * numbers, 2 / (1 + numbers), 0.5 * 0.9**numbers, tasks)
    alignment = Alignment(torch.ones(8, 12), SMALL, LARGE, history=history)
    figure = training_history(alignment)
    rows = [figure.data[place : place + 3] for place in (0, 3, 6)]
    for (ioi, mcqa, mean), values in zip(
        rows, (history.loss, history.kl, history.mean_mask), strict=True
    ):
        assert (ioi.name, mcqa.name, mean.name) == ("ioi", "mcqa", "mean of 3 steps")
        assert list(mcqa.x) == list(range(1, steps, 3))
        assert list(mcqa.y) == pytest.approx(values[1::3].tolist())
        assert len(ioi.y) + len(mcqa.y) == steps
        assert mean.y[5] == pytest.approx(float(values[4:7].mean()))
    assert len(training_history(history).data) == 9
    assert "loss 10 to 7.7" in figure.layout.meta["alt"]
    with pytest.raises(ConfigError, match="no training history"):
        training_history(random_alignment())


def visible(figure: go.Figure, step: int | None = None) -> dict[str, go.Scatter]:
    flags = (
        [trace.visible is not False for trace in figure.data]
        if step is None
        else figure.layout.sliders[0].steps[step].args[0]["visible"]
    )
    return {trace.name: trace for trace, shown in zip(figure.data, flags, strict=True) if shown}


@pytest.mark.parametrize("n_links", [0, 1, 5, 1000])
def test_circuit_graph(n_links):
    alignment, scores = random_alignment(), random_scores(SMALL)
    target = alignment.transfer(scores)
    figure = circuit_graph(
        scores, target, alignment, k=0.5, ks=(0.25, 0.375, 1.0), curve=curve(LARGE), n_links=n_links
    )
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == ["0.25", "0.375", "0.5", "1"]
    assert slider.active == 2
    titles = [step.args[1]["title.text"] for step in slider.steps]
    assert titles[0] == "k = 0.25: 2 of 8 source nodes, 3 of 12 target nodes, faithfulness = 0.06"
    # Between .25 and .5, where f is .0625 and .25.
    assert titles[1].endswith(f"faithfulness ≈ {0.0625 + 0.5 * 0.1875:.2f}")
    assert figure.layout.title.text == titles[2]
    assert set(visible(figure)) == set(visible(figure, 2))
    flow = products(alignment, scores)
    for place, k in enumerate((0.25, 0.375, 0.5, 1.0)):
        shown = visible(figure, place)
        left, right = scores.top(int(k * 8)), target.top(int(k * 12))
        names = [text.split(":")[0] for text in shown["kept (source)"].hovertext]
        assert sorted(names) == sorted(node.name for node in left)
        names = [text.split(":")[0] for text in shown["kept (target)"].hovertext]
        assert sorted(names) == sorted(node.name for node in right)
        pairs = [(flow[SMALL.index(i), LARGE.index(j)], i, j) for i in SMALL for j in right]
        best = sorted(pairs, key=lambda entry: -abs(entry[0]))[:n_links]
        assert list(shown["links"].text) == [
            f"{i} contributes {value:+.3g} to the score of {j}" for value, i, j in best
        ]
        # A source node that contributes and is not kept has a ring and its name.
        rings = {text.split(":")[0] for text in shown["contributes, not kept (source)"].hovertext}
        assert rings == {i.name for _, i, _ in best} - {node.name for node in left}
        assert all(shown["contributes, not kept (source)"].text)
        for sign, word in ((1, "raises"), (-1, "lowers")):
            lines = [shown[f"{word} it ({strength}er half)"] for strength in ("strong", "weak")]
            drawn = sum(len(line.x) for line in lines) / 3
            assert drawn == sum(value * sign > 0 for value, _, _ in best)
    assert len(visible(figure)["not kept (target)"].x) == 12
    # The models stand side by side, on axes of relative depth.
    first, second = visible(figure)["not kept (source)"], visible(figure)["not kept (target)"]
    assert max(first.x) < min(second.x)
    assert sorted(set(first.y)) == [0.25, 0.75]
    assert sorted(set(second.y)) == [0.125, 0.375, 0.625, 0.875]
    assert list(first.marker.symbol[:4]) == ["circle"] * 3 + ["square"]
    assert figure.layout.legend.title.text.startswith("contribution to the score")
    assert "flow" not in figure.to_json()


def test_circuit_graph_without_alignment_and_curve():
    figure = circuit_graph(random_scores(SMALL), random_scores(LARGE), k=0.3)
    assert [step.label for step in figure.layout.sliders[0].steps] == [
        "0.01", "0.02", "0.05", "0.1", "0.2", "0.3", "0.5", "1",
    ]  # fmt: skip
    assert len(visible(figure)["links"].x) == 0
    assert figure.layout.title.text == "k = 0.3: 2 of 8 source nodes, 3 of 12 target nodes"


def test_figures_of_circuits_open_where_most_is_recovered():
    source, target = random_scores(SMALL), random_scores(LARGE)
    ks = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)  # f is k squared: .81 at .9

    def opened(**options) -> str:
        figure = circuit_graph(source, target, **options)
        overlap = circuit_overlap(random_scores(LARGE, 5), target, **options)
        sliders = [figure.layout.sliders[0], overlap.layout.sliders[0]]
        labels = {slider.steps[slider.active].label for slider in sliders}
        assert len(labels) == 1
        return labels.pop()

    assert opened() == "0.1"
    assert opened(curve=curve(LARGE, ks)) == "0.9"
    assert opened(curve=curve(LARGE, ks), k=0.25) == "0.25"
    assert opened(curve=curve(LARGE, ks), ks=(0.25, 0.5)) == "0.5"  # none is enough: the largest


@pytest.mark.parametrize("k", [0.1, 0.5, 1.0])
def test_nodes_are_named_where_there_is_room(k):
    nodes = NodeSet(24, 14)
    figure = circuit_graph(random_scores(nodes), random_scores(nodes, 1), k=k)
    for side, scores in (("source", random_scores(nodes)), ("target", random_scores(nodes, 1))):
        trace = visible(figure)[f"kept ({side})"]
        named = [
            (x, y, text) for x, y, text in zip(trace.x, trace.y, trace.text, strict=True) if text
        ]
        assert scores.top(1)[0].name in {text for _, _, text in named}
        assert 10 < len(named) <= 32
        per_pixel = (max(figure.data[1].x) - min(figure.data[0].x)) / (figure.layout.width - 76)
        for x, y, text in named:
            near = [other for other in named if other[1] == y and other[0] > x]
            assert all(other[0] - x > 5 * len(text) * per_pixel for other in near)
    small = circuit_graph(random_scores(SMALL), random_scores(LARGE), k=1.0)
    assert set(visible(small)["kept (target)"].text) == set(LARGE.names)


@pytest.mark.parametrize("nodes", [LARGE, NodeSet(24, 14)])
def test_gold_and_transferred_circuit_on_one_diagram(nodes):
    gold, aligned = random_scores(nodes, 1), random_scores(nodes, 2)
    figure = circuit_overlap(gold, aligned, curve=curve(nodes), k=0.5)
    size = int(0.5 * len(nodes))
    first, second = ({node.name for node in one.top(size)} for one in (gold, aligned))
    assert len(first & second) > 0
    expected = {"both": first & second, "gold only": first - second}
    expected["transferred only"] = second - first
    shown = visible(figure)
    for name, names in expected.items():
        trace = shown[f"{name} ({len(names)})"]
        assert {text.split(":")[0] for text in trace.hovertext} == names
        assert trace.showlegend
        assert set(filter(None, trace.text)) <= names
    some = sorted(first & second)[0]
    ranks = [one.to_frame().set_index("node")["rank"][some] for one in (gold, aligned)]
    texts = shown[f"both ({len(first & second)})"].hovertext
    assert f"{some}: rank {ranks[0]} in gold, {ranks[1]} in transferred" in texts
    assert figure.layout.title.text == (
        f"k = 0.5: {size} of {len(nodes)} nodes, {len(first & second)} in both circuits, "
        "faithfulness = 0.25"
    )
    with pytest.raises(ScoresError, match="model of the gold scores"):
        circuit_overlap(gold, random_scores(SMALL))
    with pytest.raises(ScoresError, match="give the curve of this target"):
        circuit_overlap(random_scores(SMALL), random_scores(SMALL), curve=curve(nodes))


def test_f_between_the_proportions_of_a_curve():
    given = curve(LARGE, (0.25, 0.5, 1.0))
    assert faithfulness_at(given, 0.5) == 0.25
    assert faithfulness_at(given, 0.75) == pytest.approx(0.625)
    assert faithfulness_at(given, 0.1) is None


def test_what_makes_no_sense_is_refused(unchecked):
    alignment, scores = random_alignment(), random_scores(SMALL)
    target, chain = alignment.transfer(scores), alignment.then(random_alignment(LARGE, SMALL))
    for draw in (
        lambda: alignment_map(chain),
        lambda: transfer_flow(chain, scores),
        lambda: circuit_graph(scores, target, chain),
    ):
        with pytest.raises(ConfigError, match=r"expected an Alignment.*, got an AlignmentChain"):
            draw()
    with pytest.raises(ConfigError, match="nothing to draw"):
        score_map({})
    with pytest.raises(ConfigError, match=r"score_map\(scores=.*a NodeScores or a mapping"):
        score_map({"a": torch.ones(3)})
    with pytest.raises(ConfigError, match="n=0"):
        transfer_flow(alignment, scores, n=0)
    with pytest.raises(ConfigError, match="n_links=-1"):
        circuit_graph(scores, target, n_links=-1)
    for k, ks in ((0.0, None), (1.5, None), (0.1, (0.5, 2.0))):
        with pytest.raises(ConfigError, match=r"proportions of nodes in \(0, 1\]"):
            circuit_graph(scores, target, k=k, ks=ks)
    with pytest.raises(ScoresError, match="12 nodes"):
        transfer_flow(alignment, target)
    with pytest.raises(ScoresError, match="alignment's target model"):
        circuit_graph(scores, scores, alignment)
    with pytest.raises(ScoresError, match="give the curve of this target"):
        circuit_graph(target, scores, curve=curve(LARGE))
