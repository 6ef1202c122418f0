"""Controls and variants of W on cases small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfa_tl import (
    Alignment,
    AlignmentConfig,
    NodeScores,
    NodeSet,
    align,
    attribute,
    controls,
    evaluate,
    load_task,
)
from dfa_tl.alignment.alignment import AlignmentChain
from dfa_tl.alignment.depth import carried_profile, depth_mean, depth_mean_paper, profile_distance
from dfa_tl.alignment.linear_map import normalize
from dfa_tl.errors import ConfigError, FileFormatError, ScoresError
from dfa_tl.io.tensors import load_tensors, save_tensors
from oracle import Oracle

SOURCE = NodeSet(2, 2)
ONE_HEAD = NodeSet(1, 1)  # two nodes: a0.h0, m0


def scores_of(values, nodes=SOURCE, **provenance) -> NodeScores:
    return NodeScores(nodes, torch.tensor(values, dtype=torch.float32), provenance=provenance)


def random_scores(seed=0, nodes=SOURCE) -> NodeScores:
    values = torch.randn(len(nodes), generator=torch.Generator().manual_seed(seed))
    return NodeScores(nodes, values, provenance={"model": "source", "task": "t", "method": "nap"})


def trained(case, config, scores=None) -> Alignment:
    given = random_scores() if scores is None else scores
    return align({"t": given}, case.model, {"t": case.data}, config, progress=False)


def small_config(**changes) -> AlignmentConfig:
    """All pairs in one batch, so that the order of the batches does not matter."""
    settings = {
        "steps": 2, "batch_size": 10, "sparsity": 0.3, "temperature": 0.7, "step": "entry",
        "schedule": "constant", "initialization": "depth-mean", "target_bias": False,
        "learning_rate": 0.01, "initial_logit": 0.0, **changes,
    }  # fmt: skip
    return AlignmentConfig(**settings)


def by_oracle(case, config, tensors, logits_of, penalty_of=None) -> list[float]:
    """The same training on plain Hugging Face modules; `tensors` are changed in place."""
    oracle, losses = Oracle(case.hf), []
    optimizer = torch.optim.Adam(tensors, lr=config.learning_rate)
    for _ in range(config.steps):
        mask = torch.sigmoid(logits_of() / config.temperature)
        loss, _ = oracle.soft_mask_loss(
            case.pairs, mask, config.sparsity, objective=config.objective
        )
        if penalty_of is not None:
            loss = loss + config.profile_penalty * penalty_of(mask)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, tensors)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        optimizer.step()
    return losses


# Variants of W


def test_scrambling_keeps_every_value_and_leaves_out_what_has_none():
    """A value that went to an unscored node would be lost: its score is set to 0."""
    whole = scores_of([1, 2, 3, 4, 5, 6])
    some = NodeScores(SOURCE, torch.tensor([1.0, 2, 3, 4, 5, 6]), unscored=("a0.h1", "m1"))
    for seed in range(10):
        assert sorted(controls.scrambled_s(whole, seed).values.tolist()) == [1, 2, 3, 4, 5, 6]
        scrambled = controls.scrambled_s(some, seed)
        assert scrambled.unscored == some.unscored
        kept = [scrambled[node] for node in SOURCE if node.name not in some.unscored]
        assert sorted(kept) == [1, 3, 4, 5]


def test_scrambling_keeps_heads_and_mlps_apart():
    mlps = [node for node in SOURCE if not node.is_head]
    before = scores_of([1, 2, 3, 4, 5, 6])
    for seed in range(10):
        after = controls.scrambled_s(before, seed)
        assert sorted(after[node] for node in mlps) == sorted(before[node] for node in mlps)


@pytest.mark.parametrize("objective", ["removal", "injection"])
def test_target_bias_equals_the_oracle(llama, objective):
    config = small_config(target_bias=True, initial_logit=0.0, objective=objective)
    result = trained(llama, config)
    s = normalize(random_scores().values, "centered")
    W = depth_mean(SOURCE, llama.model.nodes).requires_grad_()
    b = torch.zeros(len(llama.model.nodes), requires_grad=True)
    losses = by_oracle(llama, config, [W, b], lambda: s @ W + b)
    assert result.history.loss.tolist() == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(result.W, W.detach(), atol=1e-3, rtol=0)
    torch.testing.assert_close(result.bias, b.detach(), atol=1e-3, rtol=0)
    assert (result.bias != 0).all(), "some target node's bias got no gradient"


def test_scale_equals_the_oracle_and_keeps_W_proportional_to_the_prior(llama):
    config = small_config(learned="scale", target_bias=True, initial_logit=0.0, learning_rate=0.1)
    result = trained(llama, config)
    prior = depth_mean(SOURCE, llama.model.nodes)
    s = normalize(random_scores().values, "centered")
    c = torch.zeros((), requires_grad=True)
    b = torch.zeros(len(llama.model.nodes), requires_grad=True)
    losses = by_oracle(llama, config, [c, b], lambda: c.exp() * (s @ prior) + b)
    assert result.history.loss.tolist() == pytest.approx(losses, rel=1e-4)
    assert c.item() != 0
    torch.testing.assert_close(result.W, c.exp().item() * prior, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(result.bias, b.detach(), atol=1e-3, rtol=0)
    assert trained(llama, small_config(learned="scale")).bias is None


@pytest.mark.parametrize("rank", [1, 2])
def test_low_rank_W_has_that_rank(llama, rank):
    settings = {"rank": rank, "learning_rate": 0.1}
    result = trained(llama, small_config(initialization="random", **settings))
    assert torch.linalg.matrix_rank(result.W, rtol=1e-5) == rank
    # From V = 0 one s alone would train one direction only: its gradients are (s U)^T g.
    two = [random_scores(0), random_scores(1)]
    learned = trained(llama, small_config(steps=6, **settings), two).W
    difference = learned - depth_mean(SOURCE, llama.model.nodes)
    assert torch.linalg.matrix_rank(difference, rtol=1e-5) == rank


def test_low_rank_starts_at_the_prior_or_like_a_full_W(llama):
    """The first mask is that of the start; here its mean is compared."""
    prior = trained(llama, small_config(rank=2)).history.mean_mask[0]
    assert prior == trained(llama, small_config()).history.mean_mask[0]
    still = AlignmentConfig(
        initialization="random", rank=8, learning_rate=1e-12, init_std=0.5, steps=1
    )
    wide = NodeSet(20, 4)
    W = trained(llama, still, random_scores(nodes=wide)).W
    assert W.std().item() == pytest.approx(0.5, rel=0.2)


def test_low_rank_equals_the_oracle(llama):
    config = small_config(rank=2, seed=3)
    result = trained(llama, config)
    generator = torch.Generator().manual_seed(3)
    prior = depth_mean(SOURCE, llama.model.nodes)
    s = normalize(random_scores().values, "centered")
    U = (torch.randn(6, 2, generator=generator) / 2**0.5).requires_grad_()
    V = torch.zeros(2, prior.shape[1], requires_grad=True)
    losses = by_oracle(llama, config, [U, V], lambda: s @ (prior + U @ V))
    assert result.history.loss.tolist() == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(result.W, (prior + U @ V).detach(), atol=1e-3, rtol=0)


def test_profile_penalty_by_hand():
    # Layer sums of |s|: 1 + 2 + 3 = 6 and 0 + 1 + 1 = 2, so shares 3/4 and 1/4.
    scores = scores_of([1, -2, 3, 0, -1, 1])
    target = NodeSet(4, 1)
    # Source layers lie between target layers 0 and 1, and between 2 and 3, midway.
    profile = carried_profile(scores, target)
    assert profile.tolist() == pytest.approx([0.375, 0.375, 0.125, 0.125])
    mask = torch.tensor([0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.0, 0.0], requires_grad=True)
    # The mask's shares are 1/2, 1/4, 1/4, 0.
    distance = profile_distance(mask, profile)
    assert distance.item() == pytest.approx(0.125**2 * 4)
    (gradient,) = torch.autograd.grad(distance, mask)
    assert (gradient != 0).any()
    assert torch.dot(gradient, mask.detach()).item() == pytest.approx(0, abs=1e-6), "scale-free"
    silent = carried_profile(scores_of([0.0] * 6), NodeSet(2, 3))
    assert silent.tolist() == [0.5, 0.5]


def test_profile_penalty_equals_the_oracle(llama):
    config = small_config(profile_penalty=2.0)
    result = trained(llama, config)
    scores = random_scores()
    s = normalize(scores.values, "centered")
    nodes = llama.model.nodes
    profile = carried_profile(scores, nodes)
    W = depth_mean(SOURCE, nodes).requires_grad_()

    def penalty(mask):
        layers = mask.reshape(nodes.n_layers, nodes.n_heads + 1).sum(1)
        return ((layers / mask.sum() - profile) ** 2).sum()

    losses = by_oracle(llama, config, [W], lambda: s @ W, penalty)
    assert result.history.loss.tolist() == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(result.W, W.detach(), atol=1e-3, rtol=0)


def test_several_vectors_per_task(llama):
    config = small_config(steps=4)
    one, other = random_scores(0), random_scores(1)
    single = trained(llama, config, one)
    assert torch.equal(trained(llama, config, [one]).W, single.W)
    torch.testing.assert_close(trained(llama, config, (one, one)).W, single.W)
    both = trained(llama, config, [one, other])
    assert torch.equal(both.W, trained(llama, config, [one, other]).W)
    assert not torch.equal(both.W, single.W)
    assert not torch.equal(both.W, trained(llama, config, other).W)
    assert both.provenance["vectors"] == {"t": 2}
    assert both.provenance["source"] == "source"


# Controls


def test_depth_mean_W_is_the_untrained_prior():
    target = NodeSet(4, 3)
    W = controls.depth_mean_W(SOURCE, target)
    assert torch.equal(W.W, depth_mean(SOURCE, target))
    assert (W.config.normalization, W.history, W.bias) == ("none", None, None)
    centered = controls.depth_mean_W(SOURCE, target, AlignmentConfig(normalization="centered"))
    assert centered.config.normalization == "centered"


def test_permuted_W_moves_columns_and_bias_together():
    W, bias = torch.arange(18.0).reshape(6, 3), torch.tensor([5.0, 6.0, 7.0])
    target = NodeSet(1, 2)
    alignment = Alignment(W, SOURCE, target, bias=bias)
    permuted = [controls.permuted_W(alignment, seed) for seed in range(8)]
    swapped = [not torch.equal(each.W, W) for each in permuted]
    assert any(swapped)
    assert not all(swapped)
    for each, is_swapped in zip(permuted, swapped, strict=True):
        order = [1, 0, 2] if is_swapped else [0, 1, 2]  # the MLP stays the MLP
        torch.testing.assert_close(each.W, W[:, order])
        assert each.bias is not None
        torch.testing.assert_close(each.bias, bias[order])
    assert torch.equal(controls.permuted_W(alignment, 3).W, permuted[3].W)
    assert controls.permuted_W(Alignment(W, SOURCE, target), 0).bias is None
    assert torch.equal(alignment.W, W)


def test_scrambled_s_keeps_the_values():
    scores = random_scores()
    scrambled = [controls.scrambled_s(scores, seed) for seed in range(5)]
    for each in scrambled:
        assert sorted(each.values.tolist()) == sorted(scores.values.tolist())
        assert each.provenance["method"] == "scrambled nap"
    assert len({tuple(each.values.tolist()) for each in scrambled}) > 1
    assert torch.equal(controls.scrambled_s(scores, 2).values, scrambled[2].values)


def test_random_s():
    nodes = NodeSet(40, 24)
    scores = controls.random_s(nodes, 0)
    assert scores.values.mean().item() == pytest.approx(0, abs=0.1)
    assert scores.values.std().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(controls.random_s(nodes, 0).values, scores.values)
    assert not torch.equal(controls.random_s(nodes, 1).values, scores.values)


@pytest.mark.parametrize("start", [0.0, 2.0])
def test_target_only_equals_the_oracle(llama, start):
    config = small_config(learning_rate=0.1, steps=3)
    given = {} if start == 2.0 else {"start": start}
    scores = controls.target_only(llama.model, {"t": llama.data}, config, **given, progress=False)
    logits = torch.full((len(llama.model.nodes),), start, requires_grad=True)
    losses = by_oracle(llama, config, [logits], lambda: logits)
    assert losses[-1] < losses[0]
    torch.testing.assert_close(scores.values, logits.detach(), atol=2e-3, rtol=0)
    assert (scores.values != start).all()
    assert scores.provenance["method"] == "target_only"


@pytest.mark.parametrize("source", [SOURCE, NodeSet(5, 3)])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_without_a_source_W_is_a_free_mask_of_the_same_steps(llama, source, schedule):
    """Under a constant s, b and all rows of W move alike, and together by the learning rate."""
    config = AlignmentConfig(
        steps=4, batch_size=10, learning_rate=0.1, initialization="zero", schedule=schedule,
        target_bias=True, initial_logit=2.0,
    )  # fmt: skip
    free = controls.target_only(llama.model, {"t": llama.data}, config, progress=False)
    uniform = controls.uniform_s(source)
    tied = trained(llama, config, uniform).transfer(uniform)
    assert (free.values - config.initial_logit).abs().mean() > 0.1
    torch.testing.assert_close(free.values, tied.values, atol=1e-3, rtol=0)


def supervised_case():
    source = {
        "a": scores_of([1, 2, 3, 4, 5, 9]),
        "b": scores_of([1, 0, -1, 0, 2, 0]),
        "c": scores_of([-3, 1, 4, 1, 5, -9]),
    }
    gold = {"a": scores_of([3, 1], ONE_HEAD), "b": scores_of([10, 20], ONE_HEAD)}
    return source, gold | {"c": scores_of([-0.1, -0.3], ONE_HEAD)}


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
def test_regression_is_ridge(penalty):
    """Against least squares with the penalty as extra rows, and the intercept as a column."""
    source, gold = supervised_case()
    alignment = controls.regression(source, gold, penalty)
    s = np.stack([each.values.numpy() for each in source.values()]).astype(float)
    s = (s - s.mean(1, keepdims=True)) / s.std(1, keepdims=True)
    # Two nodes at zero mean and unit deviation are 1 and -1.
    g = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]])
    design = np.block([[s, np.ones((3, 1))], [penalty**0.5 * np.eye(6), np.zeros((6, 1))]])
    solution = np.linalg.lstsq(design, np.concatenate([g, np.zeros((6, 2))]), rcond=None)[0]
    np.testing.assert_allclose(alignment.W, solution[:6], atol=1e-5)
    np.testing.assert_allclose(alignment.bias, solution[6], atol=1e-5)
    np.testing.assert_allclose(
        alignment.transfer(source["a"]).values, s[0] @ solution[:6] + solution[6], atol=1e-5
    )


def test_regression_fits_the_training_tasks_or_falls_back_to_mean_gold():
    source, gold = supervised_case()
    close = controls.regression(source, gold, 1e-6)
    assert close.transfer(source["b"]).values.tolist() == pytest.approx([-1, 1], abs=1e-3)
    far = controls.regression(source, gold, 1e9)
    mean = controls.mean_scores(gold)
    torch.testing.assert_close(far.transfer(source["b"]).values, mean.values, atol=1e-4, rtol=0)
    alone = controls.regression({"a": source["a"]}, {"a": gold["a"]})
    assert alone.transfer(source["c"]).values.tolist() == pytest.approx([1, -1])


def test_the_nearest_task_is_the_one_that_correlates_best():
    training = {"a": scores_of([1, 2, 3, 4, 5, 9]), "b": scores_of([-9, 5, 1, 4, 1, -3])}
    assert controls.nearest_task(scores_of([10, 20, 30, 40, 50, 60]), training) == "a"
    assert controls.nearest_task(scores_of([-0.9, 0.5, 0, 0.4, 0, -0.4]), training) == "b"
    with pytest.raises(ConfigError, match="no tasks: give source_scores of at least one"):
        controls.nearest_task(scores_of([1, 2, 3, 4, 5, 6]), {})
    with pytest.raises(ScoresError):
        controls.nearest_task(scores_of([1, 2], ONE_HEAD), training)


def test_no_task_dominates_by_its_scale():
    source, gold = supervised_case()
    larger = gold | {"b": scores_of([1e4, 2e4], ONE_HEAD)}
    torch.testing.assert_close(
        controls.regression(source, larger).W, controls.regression(source, gold).W
    )
    # Standardised: (1, -1), (-1, 1), (1, -1).
    assert controls.mean_scores(gold).values.tolist() == pytest.approx([1 / 3, -1 / 3])
    assert controls.mean_scores(larger).values.tolist() == pytest.approx([1 / 3, -1 / 3])


# Alignments: bias and chains


def test_bias_is_added_before_the_temperature():
    W, bias = torch.arange(12.0).reshape(6, 2), torch.tensor([5.0, -6.0])
    alignment = Alignment(W, SOURCE, ONE_HEAD, AlignmentConfig.paper(temperature=2.0), bias=bias)
    scores = random_scores()
    torch.testing.assert_close(alignment.transfer(scores).values, scores.values @ W + bias)
    torch.testing.assert_close(
        alignment.mask(scores), torch.sigmoid((scores.values @ W + bias) / 2)
    )


def test_save_and_load_with_bias(tmp_path, llama):
    result = trained(llama, small_config(target_bias=True, rank=2, profile_penalty=0.5))
    path = tmp_path / "w.safetensors"
    result.save(path)
    again = Alignment.load(path)
    assert torch.equal(again.W, result.W)
    assert torch.equal(again.bias, result.bias)
    assert again.config == result.config


def test_files_with_fewer_settings_are_refused(tmp_path):
    """Today's default need not be the setting that an older W was trained with."""
    path = tmp_path / "w.safetensors"
    controls.random_W(SOURCE, SOURCE).save(path)
    tensors, metadata = load_tensors(path, "alignment")
    assert "bias" not in tensors
    del metadata["config"]["objective"]
    save_tensors(path, "alignment", tensors, metadata)
    with pytest.raises(FileFormatError, match=r"lacks the settings \['objective'\]"):
        Alignment.load(path)


def test_depth_mean_paper_W_is_the_papers_matrix(toy_small, toy_large):
    """The published heuristic and ours are far apart on subtraction."""
    W = controls.depth_mean_paper_W(toy_small.nodes, toy_large.nodes)
    assert torch.equal(W.W, depth_mean_paper(toy_small.nodes, toy_large.nodes))
    data = load_task("arithmetic_subtraction", n=16)
    test = load_task("arithmetic_subtraction", split="test", n=16)
    scores = attribute(toy_small, data, progress=False)
    ours = controls.depth_mean_W(toy_small.nodes, toy_large.nodes)
    cprs = [
        evaluate(toy_large, test, one.transfer(scores), progress=False).cpr for one in (W, ours)
    ]
    assert cprs == pytest.approx([0.399, 0.581], abs=2e-3)


def test_a_chain_applies_one_step_after_the_other():
    middle, target = NodeSet(3, 1), NodeSet(2, 3)
    one = Alignment(torch.randn(6, 6), SOURCE, middle, bias=torch.randn(6))
    two = Alignment(torch.randn(6, 8), middle, target, AlignmentConfig.paper(temperature=3.0))
    three = controls.depth_mean_W(target, SOURCE)
    scores = random_scores()
    chain = one.then(two)
    assert (chain.source, chain.target) == (SOURCE, target)
    by_hand = two.transfer(one.transfer(scores))
    assert torch.equal(chain.transfer(scores).values, by_hand.values)
    assert torch.equal(chain.mask(scores), torch.sigmoid(by_hand.values / 3))
    for longer in (chain.then(three), one.then(two.then(three))):
        assert longer.steps == (one, two, three)
        assert torch.equal(longer.transfer(scores).values, three.transfer(by_hand).values)


# Bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank=0: must be a whole number of at least 1, or None for a full W"),
        ({"learned": "bias"}, "learned='bias': choose one of full, scale"),
        (
            {"learned": "scale", "initialization": "random"},
            "learned='scale' scales the depth-mean map, but initialization='random'",
        ),
        ({"learned": "scale", "rank": 2}, "trains one scalar, but rank=2 asks for U V"),
        ({"profile_penalty": -1}, "profile_penalty=-1: must be a number of at least 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_check_themselves(settings, message):
    with pytest.raises(ConfigError, match=message):
        AlignmentConfig(**settings)


def test_the_papers_settings_have_no_variant():
    config = AlignmentConfig.paper()
    assert (config.target_bias, config.rank, config.learned) == (False, None, "full")
    assert config.profile_penalty == 0


@pytest.mark.usefixtures("unchecked")
def test_bad_alignments():
    one, other = controls.random_W(SOURCE, SOURCE), controls.random_W(ONE_HEAD, SOURCE)
    with pytest.raises(ConfigError, match=r"ends at 6 nodes .*, alignment 2 starts from 2 nodes"):
        one.then(other)
    with pytest.raises(ConfigError, match="at least one alignment in steps"):
        AlignmentChain(())
    with pytest.raises(ConfigError, match=r"one entry for each of 6 target nodes, got shape \(2,"):
        Alignment(torch.zeros(6, 6), SOURCE, SOURCE, bias=torch.zeros(2))
    with pytest.raises(ConfigError, match="bias must be finite"):
        Alignment(torch.zeros(6, 6), SOURCE, SOURCE, bias=torch.full((6,), float("inf")))
    with pytest.raises(ScoresError, match="the alignment's source model has 2 nodes"):
        other.then(one).transfer(random_scores())


def test_bad_input(llama):
    with pytest.raises(ConfigError, match="rank=7, but W is 6 source by 15 target nodes"):
        trained(llama, AlignmentConfig(rank=7))
    with pytest.raises(ConfigError, match="task 't' has no score vector"):
        trained(llama, None, [])
    with pytest.raises(ScoresError, match="the first task's source model has 6 nodes"):
        trained(llama, None, [random_scores(), random_scores(nodes=ONE_HEAD)])
    with pytest.raises(ConfigError, match="no tasks to train on: give at least one"):
        controls.target_only(llama.model, {}, progress=False)
    source, gold = supervised_case()
    with pytest.raises(ConfigError, match=r"has the tasks \['a'\] and gold \['a', 'b"):
        controls.regression({"a": source["a"]}, gold)
    with pytest.raises(ConfigError, match=r"penalty=0\.0: must be a number above 0"):
        controls.regression(source, gold, 0.0)
    with pytest.raises(ConfigError, match="no tasks: give target scores of at least one"):
        controls.mean_scores({})
    with pytest.raises(ConfigError, match="no tasks: give target scores of at least one"):
        controls.regression({}, {})
    with pytest.raises(ScoresError, match="the first task's target model has 2 nodes"):
        controls.mean_scores(gold | {"d": random_scores()})
