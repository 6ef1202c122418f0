from __future__ import annotations

from collections import Counter

import pytest
import torch

from dfa_tl import (
    Alignment,
    AlignmentConfig,
    NodeModel,
    NodeScores,
    NodeSet,
    align,
    controls,
    load_task,
)
from dfa_tl.alignment.depth import (
    DEPTH_MAPS,
    depth_mean,
    depth_mean_paper,
    layer_weights,
    paper_layer_weights,
)
from dfa_tl.alignment.linear_map import normalize
from dfa_tl.alignment.train import _has_settled
from dfa_tl.errors import ConfigError, DataError, FileFormatError, NumericsError, ScoresError
from dfa_tl.tasks.pairs import PairDataset
from oracle import Oracle

SOURCE = NodeSet(2, 2)


def source_scores(seed=0, nodes=SOURCE) -> NodeScores:
    values = torch.randn(len(nodes), generator=torch.Generator().manual_seed(seed))
    return NodeScores(nodes, values, provenance={"model": "source", "task": "t", "method": "nap"})


def test_paper_settings():
    config = AlignmentConfig.paper()
    assert (config.normalization, config.initialization) == ("none", "random")
    assert (config.init_std, config.learning_rate, config.epochs) == (0.02, 0.1, 3)
    assert (config.sparsity, config.temperature, config.batch_size) == (0.1, 1, 1)
    assert (config.objective, config.step, config.schedule) == ("injection", "entry", "constant")
    assert not config.target_bias
    assert AlignmentConfig.paper(seed=3).seed == 3


def test_steps_or_epochs():
    assert AlignmentConfig().n_steps(6) == 100
    assert AlignmentConfig(epochs=3).n_steps(6) == 18
    assert AlignmentConfig.paper(steps=7).n_steps(6) == 7
    with pytest.raises(ConfigError, match="steps=5 and epochs=2: give one of them"):
        AlignmentConfig(steps=5, epochs=2)


def test_passes_by_hand():
    """Two tasks of 20 and 12 pairs make 2 + 1 batches of 16."""
    removal = AlignmentConfig(steps=30).passes([20, 12])
    assert removal == (2 * 32 + 10 * 32, 10 * 32)
    injection = AlignmentConfig(objective="injection", epochs=2).passes([20, 12])
    assert injection == (32 + 2 * 32, 2 * 32)
    # One step sees one of three batches: a third of the pairs, on average.
    assert AlignmentConfig(steps=1).passes([20, 12]) == (2 * 11 + 11, 11)


@pytest.mark.parametrize("objective", ["removal", "injection"])
def test_passes_are_those_that_are_run(llama, objective, monkeypatch):
    counted = Counter()
    run = NodeModel.last_logits

    def counting(self, tokens, *rest):
        counted["backward" if torch.is_grad_enabled() else "before"] += len(tokens)
        return run(self, tokens, *rest)

    monkeypatch.setattr(NodeModel, "last_logits", counting)
    config = AlignmentConfig(steps=6, batch_size=2, objective=objective)
    align({"t": source_scores()}, llama.model, {"t": llama.data}, config, progress=False)
    passes = config.passes([len(llama.data)])
    assert counted["backward"] == passes.backward
    assert counted["before"] + counted["backward"] == passes.forward


def test_the_rate_falls_linearly(llama):
    """With one batch, the gradient keeps its sign for a few steps, and Adam's steps add up."""
    settings = {"steps": 4, "batch_size": 10, "learning_rate": 1e-3, "sparsity": 50.0}
    for schedule, total in (("constant", 4.0), ("linear", 1 + 0.75 + 0.5 + 0.25)):
        config = AlignmentConfig(**settings, schedule=schedule)
        mask = controls.target_only(llama.model, {"t": llama.data}, config, progress=False)
        moved = 2.0 - mask.values
        torch.testing.assert_close(moved, torch.full_like(moved, total * 1e-3), rtol=2e-2, atol=0)


def test_training_that_has_not_settled():
    falling = [10.0 - 0.1 * step for step in range(60)]
    settled = [5.0 * 0.7**step + 1 for step in range(60)]
    assert not _has_settled(falling)
    assert _has_settled(settled)
    assert _has_settled([1.0, 2.0] * 30)
    assert _has_settled([3.0])


def test_normalizations_by_hand():
    s = torch.tensor([1.0, -4.0, 3.0])
    assert normalize(s, "none").tolist() == [1, -4, 3]
    assert normalize(s, "max").tolist() == [0.25, -1, 0.75]
    centered = normalize(s, "centered")
    assert centered.mean().item() == pytest.approx(0, abs=1e-6)
    assert centered.std(unbiased=False).item() == pytest.approx(1)
    assert normalize(torch.zeros(3), "max").tolist() == [0, 0, 0]
    for how in ("none", "max", "centered"):
        assert normalize(torch.ones(3), how).tolist() == [1, 1, 1]


def test_depth_mean_of_3_to_5_layers_by_hand():
    # Source layers lie at 1/6, 1/2, 5/6; target layers at .1, .3, .5, .7, .9.
    third = 1 / 3
    expected = torch.tensor(
        [[2 * third, third, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, third, 2 * third]]
    )
    torch.testing.assert_close(layer_weights(3, 5), expected)
    matrix = depth_mean(NodeSet(3, 2), NodeSet(5, 1))
    by_hand = torch.zeros(9, 10)
    for i in range(3):
        for t in range(5):
            by_hand[3 * i, 2 * t] = by_hand[3 * i + 1, 2 * t] = expected[i, t] / 2
            by_hand[3 * i + 2, 2 * t + 1] = expected[i, t]
    torch.testing.assert_close(matrix, by_hand)


def test_the_papers_depth_mean_by_hand():
    """Layers 0, 1, 2 of 3 go to 0, 2.5, 5 of 6: layers 1 and 4 of the target get nothing."""
    expected = torch.zeros(3, 6)
    expected[0, 0] = expected[2, 5] = 1
    expected[1, 2] = expected[1, 3] = 0.5
    torch.testing.assert_close(paper_layer_weights(3, 6), expected)
    matrix = depth_mean_paper(NodeSet(3, 2), NodeSet(6, 3))
    by_hand = torch.zeros(9, 24)
    for i in range(3):
        for t in range(6):
            by_hand[3 * i : 3 * i + 2, 4 * t : 4 * t + 3] = expected[i, t] / 3
            by_hand[3 * i + 2, 4 * t + 3] = expected[i, t]
    torch.testing.assert_close(matrix, by_hand)
    carried = torch.tensor([1.0, 2, 9, 0, 4, 8, 5, 5, 7]) @ matrix
    torch.testing.assert_close(
        carried.view(6, 4),
        torch.tensor(
            [
                [1, 1, 1, 9],
                [0] * 4,
                [2 / 3] * 3 + [4],
                [2 / 3] * 3 + [4],
                [0] * 4,
                [10 / 3] * 3 + [7],
            ]
        ),
    )


def test_the_papers_depth_mean_to_fewer_layers_and_between_equal_ones():
    torch.testing.assert_close(paper_layer_weights(4, 4), torch.eye(4))
    third = 1 / 3
    down = torch.tensor([[1, 0], [2 * third, third], [third, 2 * third], [0, 1]])
    torch.testing.assert_close(paper_layer_weights(4, 2), down)


@pytest.mark.parametrize("weights", [layer_weights, paper_layer_weights])
@pytest.mark.parametrize("shape", [(1, 4), (5, 3), (4, 4), (3, 6), (4, 1)])
def test_every_source_layer_is_mapped_wholly(shape, weights):
    torch.testing.assert_close(weights(*shape).sum(1), torch.ones(shape[0]))


@pytest.mark.parametrize("name", DEPTH_MAPS)
def test_W_starts_from_each_depth_mean_map(name):
    nodes = NodeSet(5, 3)
    for config in (
        AlignmentConfig(initialization=name),
        AlignmentConfig(initialization=name, rank=2),
    ):
        start = controls.untrained_W(SOURCE, nodes, config)
        assert torch.equal(start.W, DEPTH_MAPS[name](SOURCE, nodes))


@pytest.mark.parametrize("kind", ["llama-gqa", "gpt2", "neox-parallel"])
def test_first_step_equals_the_oracle(case_of, kind):
    """Loss, and W after one step of Adam, worked out on plain Hugging Face modules."""
    case = case_of(kind)
    scores = source_scores()
    config = AlignmentConfig.paper(epochs=1, batch_size=10, sparsity=0.3, temperature=0.7)
    result = align({"t": scores}, case.model, {"t": case.data}, config, progress=False)
    generator = torch.Generator().manual_seed(0)
    start = 0.02 * torch.randn(len(SOURCE), len(case.model.nodes), generator=generator)
    W = start.clone().requires_grad_()
    mask = torch.sigmoid(scores.values @ W / 0.7)
    loss, _ = Oracle(case.hf).soft_mask_loss(case.pairs, mask, 0.3)
    (gradient,) = torch.autograd.grad(loss, W)
    assert result.history.loss[0].item() == pytest.approx(loss.item(), rel=1e-4)
    assert result.history.mean_mask[0].item() == pytest.approx(mask.mean().item(), rel=1e-5)
    # Adam's first step is the sign of the gradient times the learning rate.
    assert (gradient != 0).all(), "fault 1: some head or MLP gets no gradient"
    torch.testing.assert_close(result.W, start - 0.1 * gradient.sign().float(), atol=2e-3, rtol=0)


def test_without_sparsity_every_column_of_W_is_trained(llama):
    """Fault 1: heads that are never patched learn from the sparsity term alone."""
    config = AlignmentConfig.paper(epochs=1, sparsity=0.0)
    result = align({"t": source_scores()}, llama.model, {"t": llama.data}, config, progress=False)
    generator = torch.Generator().manual_seed(0)
    start = 0.02 * torch.randn(len(SOURCE), len(llama.model.nodes), generator=generator)
    assert ((result.W - start).abs() > 1e-3).any(dim=0).all()


def test_training_lowers_the_loss(toy_large):
    data = load_task("ioi", n=32)
    config = AlignmentConfig.paper(epochs=6, batch_size=16)
    result = align({"ioi": source_scores()}, toy_large, {"ioi": data}, config, progress=False)
    history = result.history.to_frame()
    assert history["loss"].iloc[-1] < 0.8 * history["loss"].iloc[0]
    assert list(history.columns) == ["step", "task", "loss", "kl", "mean_mask"]
    assert len(result.history) == 12


def test_the_seed_decides(llama):
    def train(seed):
        config = AlignmentConfig.paper(epochs=1, seed=seed)
        return align({"t": source_scores()}, llama.model, {"t": llama.data}, config, progress=False)

    assert torch.equal(train(0).W, train(0).W)
    assert not torch.equal(train(0).W, train(1).W)


def test_several_tasks_share_one_W(llama):
    tasks = {"a": source_scores(0), "b": source_scores(1)}
    config = AlignmentConfig(batch_size=2, epochs=3)
    result = align(tasks, llama.model, dict.fromkeys(tasks, llama.data), config, progress=False)
    assert sorted(set(result.history.tasks)) == ["a", "b"]
    assert len(result.history) == 2 * 2 * 3
    assert result.provenance["tasks"] == ["a", "b"]


def test_transfer_and_mask_by_hand():
    W = torch.arange(6 * 4, dtype=torch.float32).reshape(6, 4)
    alignment = Alignment(W, SOURCE, NodeSet(2, 1), AlignmentConfig.paper(temperature=2.0))
    scores = source_scores()
    predicted = alignment.transfer(scores)
    torch.testing.assert_close(predicted.values, scores.values @ W)
    torch.testing.assert_close(
        alignment.mask(scores), 1 / (1 + torch.exp(-(scores.values @ W) / 2))
    )
    assert predicted.provenance["method"] == "aligned nap"
    assert "untrained" in repr(alignment)


def test_controls(llama):
    uniform = controls.uniform_s(SOURCE)
    assert uniform.values.tolist() == [1] * 6
    one = controls.random_W(SOURCE, llama.model.nodes)
    other = controls.random_W(SOURCE, llama.model.nodes, AlignmentConfig.paper(seed=1))
    assert one.W.std().item() == pytest.approx(0.02, rel=0.2)
    assert not torch.equal(one.W, other.W)


def test_save_and_load(tmp_path, llama):
    config = AlignmentConfig(epochs=1, normalization="max")
    result = align({"t": source_scores()}, llama.model, {"t": llama.data}, config, progress=False)
    result.save(tmp_path / "w.safetensors")
    again = Alignment.load(tmp_path / "w.safetensors")
    assert torch.equal(again.W, result.W)
    assert (again.config, again.source, again.target) == (config, SOURCE, llama.model.nodes)
    assert again.history.tasks == result.history.tasks
    assert torch.equal(again.history.kl, result.history.kl)
    assert again.provenance == result.provenance
    assert "3 steps" not in repr(again)
    untrained = controls.random_W(SOURCE, SOURCE)
    untrained.save(tmp_path / "r.safetensors")
    assert Alignment.load(tmp_path / "r.safetensors").history is None


def test_bad_alignment_files(tmp_path):
    path = tmp_path / "w.safetensors"
    controls.random_W(SOURCE, SOURCE).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    with pytest.raises(FileFormatError, match="truncated or altered"):
        Alignment.load(path)
    path.write_bytes(content.replace(b'"source\\": [2, 2]', b'"source\\": [9, 2]'.ljust(16)))
    if path.read_bytes() != content:
        with pytest.raises(FileFormatError, match="valid alignment"):
            Alignment.load(path)
    with pytest.raises(FileFormatError, match="no file"):
        Alignment.load(tmp_path / "nothing.safetensors")
    source_scores().save(path)
    with pytest.raises(FileFormatError, match="not a dfa_tl alignment file"):
        Alignment.load(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalization": "zscore"}, "normalization='zscore': choose one of none, max, centered"),
        ({"initialization": "zeros"}, "initialization='zeros': choose one of zero, random"),
        ({"temperature": 0}, "temperature=0: must be a number above 0"),
        ({"learning_rate": -1}, "learning_rate=-1: must be a number above 0"),
        ({"sparsity": -0.1}, "sparsity=-0.1: must be a number of at least 0"),
        ({"epochs": 0}, "epochs=0: must be a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size=0: must be a whole number of at least 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_check_themselves(settings, message):
    with pytest.raises(ConfigError, match=message):
        AlignmentConfig(**settings)


def test_bad_input(llama):
    model, data = llama.model, llama.data
    with pytest.raises(ConfigError, match="no tasks to train on"):
        align({}, model, {}, progress=False)
    with pytest.raises(ConfigError, match=r"scores for the tasks \['a'\] and pairs for \['b'\]"):
        align({"a": source_scores()}, model, {"b": data}, progress=False)
    with pytest.raises(ScoresError, match=r"these scores belong to source \(10 nodes"):
        align(
            {"a": source_scores(), "b": source_scores(nodes=NodeSet(2, 4))},
            model, {"a": data, "b": data}, progress=False,
        )  # fmt: skip
    with pytest.raises(DataError, match="holds no pairs"):
        align({"a": source_scores()}, model, {"a": PairDataset(())}, progress=False)
    with pytest.raises(ConfigError, match="W must be 6 source by 6 target"):
        Alignment(torch.zeros(3, 3), SOURCE, SOURCE)
    with pytest.raises(ConfigError, match="W must be finite"):
        Alignment(torch.full((6, 6), float("nan")), SOURCE, SOURCE)
    with pytest.raises(ScoresError, match="the alignment's source model"):
        controls.random_W(SOURCE, SOURCE).transfer(source_scores(nodes=NodeSet(3, 2)))


def test_a_loss_that_is_not_finite(llama, monkeypatch):
    monkeypatch.setattr("dfa_tl.alignment.train.kl_divergence", lambda p, q: q[:, 0] * float("nan"))
    with pytest.raises(NumericsError, match="loss became nan at step 1 on 't'"):
        align({"t": source_scores()}, llama.model, {"t": llama.data}, progress=False)


def test_a_bias_made_in_inference_mode_can_be_used_in_training():
    nodes = NodeSet(1, 1)
    with torch.inference_mode():
        made = Alignment(torch.eye(2), nodes, nodes, AlignmentConfig(), bias=torch.ones(2))
    weight = torch.ones(2, requires_grad=True)
    (weight * made.bias + made.W @ weight).sum().backward()
    assert weight.grad.tolist() == [2.0, 2.0]
