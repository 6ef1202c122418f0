"""The oracle itself, on facts that hold whatever the weights are."""

from __future__ import annotations

import pytest
import torch

from oracle import Oracle, OracleScores, cmd, cpr
from tiny_models import KINDS, random_pairs, tiny_model

torch.set_num_threads(1)
PAIRS = random_pairs(n=3)


@pytest.fixture(scope="module", params=KINDS)
def oracle(request: pytest.FixtureRequest) -> Oracle:
    return Oracle(tiny_model(request.param))


def close(a, b, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, check_dtype=False)


def one_node(oracle: Oracle, node: int) -> torch.Tensor:
    return torch.arange(oracle.n_nodes) == node


def test_random_pairs_keep_their_promises():
    clean, corrupt, answers, lengths = random_pairs("gpt2", n=40, seed=3)
    for row, length in enumerate(lengths.tolist()):
        differ = clean[row] != corrupt[row]
        assert 1 <= differ.sum() <= 3
        assert not differ[length - 1 :].any()
        assert (clean[row, :length] > 0).all()
        assert (corrupt[row, :length] > 0).all()
        assert (clean[row, length:] == 0).all()
    assert (answers[:, 0] != answers[:, 1]).all()
    assert len(lengths.unique()) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_tiny_model_is_reproducible_and_leaves_the_random_state(kind: str):
    before = torch.get_rng_state()
    first, second, other = tiny_model(kind), tiny_model(kind), tiny_model(kind, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    weights = [model.get_input_embeddings().weight for model in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not first.training
    assert first.dtype == torch.float32


def test_the_scores_are_not_trivially_small(oracle: Oracle):
    scores = oracle.exact(PAIRS)
    assert (scores.nodes.abs() > 1e-4).all()
    assert scores.nodes.abs().max() > 1e-2


def test_full_circuit_is_clean_and_empty_one_is_corrupt(oracle: Oracle):
    clean, corrupt = oracle.clean_corrupt_metric(PAIRS)
    everything = torch.ones(oracle.n_nodes, dtype=torch.bool)
    close(oracle.circuit_metric(PAIRS, everything), clean)
    close(oracle.circuit_metric(PAIRS, ~everything), corrupt)


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean", "mean-positional"])
def test_exact_is_a_difference_of_circuit_metrics(oracle: Oracle, ablation: str):
    exact = oracle.exact(PAIRS, ablation)
    clean, _ = oracle.clean_corrupt_metric(PAIRS)
    for node in (1, oracle.n_heads):
        without = oracle.circuit_metric(PAIRS, ~one_node(oracle, node), ablation)
        close(exact.nodes[node], (clean - without).mean())


def test_exact_against_hooks_written_by_hand():
    model, (clean, corrupt, answers, lengths) = tiny_model("gpt2").double(), PAIRS
    stored, expected = {}, []

    def store(module, args):
        stored["z"] = args[0].clone()

    def patch_head_2(module, args):
        z = args[0].clone()
        z[:, :, 16:24] = stored["z"][:, :, 16:24]
        return (z,)

    def difference(tokens, row, hook=None):
        handle = model.transformer.h[1].attn.c_proj.register_forward_pre_hook(hook or store)
        with torch.no_grad():
            logits = model(tokens[row : row + 1, : lengths[row]]).logits[0, -1]
        handle.remove()
        return logits[answers[row, 0]] - logits[answers[row, 1]]

    for row in range(len(lengths)):
        plain = difference(clean, row)
        difference(corrupt, row)  # leaves the corrupt z in `stored`
        expected.append(plain - difference(clean, row, patch_head_2))
    close(Oracle(model).exact(PAIRS).nodes[1 * 5 + 2], torch.stack(expected).mean())


def test_nap_is_the_derivative_of_the_metric(oracle: Oracle):
    """d/dt of m with node a at a_clean - t (a_clean - a_abl), by a central difference at t = 0."""
    nap, eps = oracle.nap(PAIRS), 1e-3
    runs = oracle.plain_runs(PAIRS)
    cases = [("input", 0, oracle.embedding.embedding_dim, nap.input)]
    cases.append((("attn", 1), 8, 16, nap.nodes[1 * 5 + 1]))
    cases.append((("mlp", 0), 0, 32, nap.nodes[4]))
    for site, low, high, expected in cases:
        slopes = []
        for run in runs:
            delta = torch.zeros_like(run.clean_acts[site])
            delta[..., low:high] = (run.clean_acts[site] - run.corrupt_acts[site])[..., low:high]
            up, down = (
                oracle.measure(
                    oracle.run(
                        run.clean,
                        lambda s, a, at=site, d=sign * eps * delta: a + d if s == at else a,
                    )[0],
                    run,
                )
                for sign in (1, -1)
            )
            slopes.append((up - down) / (2 * eps))
        close(torch.cat(slopes).mean(), expected, 2e-3)


def limit(method, steps: int = 12) -> OracleScores:
    """The scores at infinitely many steps; the sums at k/m, k = 1..m, are off by order 1/m."""
    one_pair = tuple(tensor[:1] for tensor in PAIRS)
    few, many = method(one_pair, steps), method(one_pair, 2 * steps)
    return OracleScores(2 * many.nodes - few.nodes, 2 * many.input - few.input)


def test_ig_with_one_step_is_nap(oracle: Oracle):
    nap = oracle.nap(PAIRS)
    for method in (oracle.nap_ig_inputs, oracle.nap_ig_activations):
        result = method(PAIRS, steps=1)
        close(result.nodes, nap.nodes)
        close(result.input, nap.input)


def test_ig_is_complete_along_its_own_path(oracle: Oracle):
    """The path of the embeddings ends at m(corrupt), the path of the last MLP at its ablation."""
    one_pair = tuple(tensor[:1] for tensor in PAIRS)
    clean, corrupt = oracle.clean_corrupt_metric(one_pair)
    close(limit(oracle.nap_ig_inputs).input, (clean - corrupt)[0], 2e-2)
    by_site, exact = limit(oracle.nap_ig_activations), oracle.exact(one_pair)
    close(by_site.nodes[-1], exact.nodes[-1], 2e-2)
    # The heads of a layer move together, so their scores add up to the whole site's effect.
    heads = torch.arange(oracle.n_nodes) < oracle.n_heads
    whole = clean - oracle.circuit_metric(one_pair, ~heads)
    close(by_site.nodes[heads].sum(), whole[0], 2e-2)


def test_padding_is_never_read(oracle: Oracle):
    clean, corrupt, answers, lengths = PAIRS
    real = torch.arange(clean.shape[1]) < lengths[:, None]
    other = (clean.where(real, 7), corrupt.where(real, 9), answers, lengths)
    for ablation in ("counterfactual", "mean", "mean-positional"):
        assert torch.equal(oracle.nap(PAIRS, ablation).nodes, oracle.nap(other, ablation).nodes)


def test_mean_ablations_of_equal_corrupt_prompts(oracle: Oracle):
    """Over copies of one corrupt prompt, `mean-positional` is `counterfactual`."""
    copies = tuple(tensor[:1].repeat_interleave(2, 0) for tensor in PAIRS)
    close(oracle.nap(copies, "mean-positional").nodes, oracle.nap(copies).nodes)
    values = oracle.ablated_values(oracle.plain_runs(PAIRS), "mean")
    assert torch.equal(values[0]["mlp", 1][0, 0], values[1]["mlp", 1][0, 3])


def test_faithfulness_end_points_and_floor(oracle: Oracle):
    scores = oracle.nap(PAIRS).nodes
    nodes = oracle.faithfulness(PAIRS, scores, [0, 0.5, 1])
    close(nodes[[0, 2]], torch.tensor([0.0, 1.0]))
    first = oracle.faithfulness_mib(PAIRS, scores, 1e9, [0, 1 / oracle.n_nodes, 1])
    close(first, torch.tensor([0.0, 0.0, 1.0]))  # disconnected, then `input` alone, then all
    ks = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
    last = oracle.faithfulness_mib(PAIRS, scores, -1e9, ks)
    close(last, torch.tensor([0.0] * 9 + [1.0]))
    assert cpr(ks, last) == pytest.approx(0.25)
    assert cmd(ks, last) == pytest.approx(0.749)


def test_soft_mask_end_points(oracle: Oracle):
    runs = oracle.plain_runs(PAIRS)
    loss, logits = oracle.soft_mask_loss(PAIRS, torch.zeros(oracle.n_nodes), sparsity=0.1)
    close(logits, torch.cat([run.corrupt_logits for run in runs]))
    assert loss > 0
    # The last token is the same in both prompts, so clean nodes give the clean last logits.
    loss, logits = oracle.soft_mask_loss(PAIRS, torch.ones(oracle.n_nodes), sparsity=0.1)
    close(logits, torch.cat([run.clean_logits for run in runs]))
    close(loss, torch.tensor(0.1))


def test_soft_mask_gradient(oracle: Oracle):
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(oracle.n_nodes, generator=generator, dtype=torch.float64)
    mask.requires_grad_()
    (gradient,) = torch.autograd.grad(oracle.soft_mask_loss(PAIRS, mask, 0.1)[0], mask)
    for node in (2, oracle.n_heads):
        step = 1e-3 * one_node(oracle, node)
        with torch.no_grad():
            up, down = (oracle.soft_mask_loss(PAIRS, mask + s * step, 0.1)[0] for s in (1, -1))
        close((up - down) / 2e-3, gradient[node], 2e-3)


def test_the_model_handed_in_is_untouched():
    model = tiny_model("llama-gqa")
    Oracle(model).nap(PAIRS)
    assert model.dtype == torch.float32
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_any_metric():
    """The Kullback-Leibler divergence to the clean run is 0 and flat at the clean run."""

    def kl(last_logits, answers, clean_logits):
        log_p, log_q = clean_logits.log_softmax(-1), last_logits.log_softmax(-1)
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    oracle = Oracle(tiny_model("gpt2"), metric=kl)
    close(oracle.nap(PAIRS).nodes, torch.zeros(oracle.n_nodes))
    assert (oracle.exact(PAIRS).nodes < 0).all()
