"""Hooks of the user's on a model: results are those of the hooked model, run whole every time.

The reference starts every run at the embedding, and patches and contracts by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import pytest
import torch
from torch import Tensor

from dfa_tl import NodeModel, NodeScores, attribute, evaluate, load_model
from dfa_tl.nodes import EMBED_SITE, head_site, mlp_site
from hooked_models import hooked_transformer
from tiny_models import tiny_model

pytestmark = pytest.mark.slow

HOOK_POINTS = [
    EMBED_SITE,
    "blocks.1.hook_resid_pre",
    "blocks.2.hook_resid_pre",
    "blocks.1.hook_resid_mid",
    "blocks.0.hook_resid_post",
    "blocks.1.hook_attn_out",
    "blocks.0.hook_mlp_out",
]
BLOCKS = [("after", 0), ("after", 1), ("before", 1), ("before", 2)]
STEPS = 2


@pytest.fixture(scope="module", params=["bridge", "hooked transformer"])
def model(request, save_tiny) -> NodeModel:
    if request.param == "bridge":
        return load_model(save_tiny("llama-gqa"))
    if version("transformer-lens").startswith("4"):
        pytest.skip("TransformerLens 4 has no HookedTransformer")
    return load_model(hooked_transformer(tiny_model("llama-gqa")))


@contextmanager
def steered(model: NodeModel, where: str | tuple[str, int]) -> Iterator[None]:
    """A vector added to the residual stream, or to what is written to it."""
    vector = torch.randn(32, generator=torch.Generator().manual_seed(1))
    if isinstance(where, str):
        with model.tl.hooks(fwd_hooks=[(where, lambda activation, hook: activation + vector)]):
            yield
        return
    kind, layer = where
    block = model.tl.blocks[layer]

    def after(module, args, output):
        if isinstance(output, tuple):
            return (output[0] + vector, *output[1:])
        return output + vector

    def before(module, args, kwargs):
        return (args[0] + vector, *args[1:]), kwargs

    if kind == "after":
        handle = block.register_forward_hook(after)
    else:
        handle = block.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class Whole:
    """Every pair alone, without padding; every run from the embedding, hooked by hand."""

    def __init__(self, model: NodeModel, pairs: tuple[Tensor, ...]) -> None:
        self.tl, self.nodes = model.tl, model.nodes
        self.sites = [
            site(layer) for layer in range(model.nodes.n_layers) for site in (head_site, mlp_site)
        ]
        self.pairs = [
            (clean[None, :length], self.seen(corrupt[None, :length]), answers)
            for clean, corrupt, answers, length in zip(*pairs, strict=True)
        ]

    def run(self, tokens: Tensor, functions) -> Tensor:
        """Last logits; `functions[site]` gives what takes the activation's place."""
        hooks = [
            (site, lambda a, hook, function=function: function(a))
            for site, function in functions.items()
        ]
        return self.tl.run_with_hooks(tokens, fwd_hooks=hooks)[0, -1]

    @torch.no_grad()
    def seen(self, tokens: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        watch = {
            site: lambda a, site=site: found.setdefault(site, a.detach().clone())
            for site in (EMBED_SITE, *self.sites)
        }
        self.run(tokens, watch)
        return found

    def place(self, node: int) -> tuple[str, int | None]:
        layer, item = divmod(node, self.nodes.n_heads + 1)
        return (mlp_site(layer), None) if item == self.nodes.n_heads else (head_site(layer), item)

    @torch.no_grad()
    def without(self, nodes: list[int]) -> Tensor:
        """Logit difference of each pair, `nodes` taking their values of the corrupt run."""
        found = []
        for clean, values, (right, wrong) in self.pairs:

            def patched(site, values=values):
                left_out = [self.place(node)[1] for node in nodes if self.place(node)[0] == site]

                def patch(activation):
                    if None in left_out:
                        return values[site]
                    changed = activation.clone()
                    changed[:, :, left_out] = values[site][:, :, left_out]
                    return changed

                return patch

            places = {self.place(node)[0] for node in nodes}
            logits = self.run(clean, {site: patched(site) for site in places})
            found.append(logits[right] - logits[wrong])
        return torch.stack(found)

    def exact(self) -> Tensor:
        whole = self.without([])
        return torch.stack([(whole - self.without([n])).mean() for n in range(len(self.nodes))])

    def ig_activations(self) -> Tensor:
        scores = torch.zeros(len(self.nodes))
        for clean, at_corrupt, (right, wrong) in self.pairs:
            at_clean = self.seen(clean)
            for site in self.sites:
                delta = at_clean[site] - at_corrupt[site]
                for step in range(1, STEPS + 1):
                    point = (at_corrupt[site] + step / STEPS * delta).requires_grad_(True)
                    logits = self.run(clean, {site: lambda a, point=point: point})
                    slope = torch.autograd.grad(logits[right] - logits[wrong], point)[0]
                    product = (slope * delta).sum(-1).sum(1)[0] / STEPS / len(self.pairs)
                    for node in range(len(self.nodes)):
                        place, head = self.place(node)
                        if place == site:
                            scores[node] += product if head is None else product[head]
        return scores


@pytest.mark.parametrize("where", [*HOOK_POINTS, *BLOCKS], ids=str)
def test_results_are_those_of_whole_runs(model, llama, where):
    scores = NodeScores(model.nodes, -torch.arange(len(model.nodes)).float())
    kept = (4, 9, 12)  # runs that start at layers 2, 1 and 0
    data = llama.data[:2]
    order = scores.values.argsort(descending=True).tolist()
    with steered(model, where):
        whole = Whole(model, tuple(tensor[:2] for tensor in llama.pairs))
        expected = {
            "exact": whole.exact(),
            "nap-ig-activations": whole.ig_activations(),
            "evaluate": torch.stack([whole.without(order[n:]) for n in kept]),
        }
        found = {
            method: attribute(model, data, method, ig_steps=STEPS, progress=False).values
            for method in ("exact", "nap-ig-activations")
        }
        curve = evaluate(
            model, data, scores, ks=[(n + 0.5) / len(model.nodes) for n in kept], progress=False
        )
        found["evaluate"] = torch.as_tensor(curve.pair_values).float()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-4, msg=name)
    plain = attribute(llama.model, data, "exact", progress=False).values
    assert (plain - found["exact"]).abs().max() > 0.05, "the hook steers nothing"
