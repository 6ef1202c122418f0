"""The slow reference for every estimator: plain Hugging Face modules, hooks and autograd.

No TransformerLens and no dfa_tl code. Each prompt is run alone and unpadded, each intervention is
a run of its own, everything is in float64 on a private copy (Hugging Face casts inside some norms
and softmaxes to float32, so agreement is to about 1e-6).

Site: where activations are read and set. "input" is the output of the token embedding (without
position embeddings), ("attn", l) the input of layer l's attention output projection, ("mlp", l)
what layer l's MLP adds to the residual stream. Head h is the slice [h*d_head : (h+1)*d_head] of its
attention site. Node order: layer by layer, heads 0..H-1, then the MLP. Formulas: design.md, 2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

Site = str | tuple[str, int]
Activations = dict[Site, Tensor]  # each [1, pos, width]
Edit = Callable[[Site, Tensor], Tensor]
Metric = Callable[[Tensor, Tensor, Tensor], Tensor]  # ([1, vocab], [1, 2], [1, vocab]) -> [1]
Pairs = tuple[Tensor, Tensor, Tensor, Tensor]  # clean, corrupt [n, pos]; answers [n, 2]; lengths

LAYERS = (
    "layers",
    "model.layers",
    "decoder.layers",
    "encoder.layer",
    "h",
    "blocks",
    "transformer.h",
)
"""Where the base model keeps its layers; of each tuple the first that is there."""
PROJECTIONS = (
    "self_attn.o_proj",
    "self_attn.out_proj",
    "self_attn.dense",
    "attn.attention.out_proj",
    "attn.c_proj",
    "attn.out_proj",
    "attn.Wo",
    "attention.dense",
    "attention.output.dense",
    "self_attention.dense",
)
"""The attention output projection inside a layer: its input is the heads, one after the other."""
MLPS = (
    "post_feedforward_layernorm",
    "post_mlp_layernorm",
    "mlp.dense_4h_to_h",
    "ffn.down_proj",
    "mlp",
    "ffn",
    "feed_forward",
    "block_sparse_moe",
    "fc2",
    "output.dense",
)
"""Inside a layer, the module whose output is added to the residual stream for the MLP: the norm
that follows an MLP, or the last module of an MLP that adds the stream itself (BLOOM, MPT)."""

EMBEDDING_NORMS = ("word_embeddings_layernorm", "embeddings.norm", "embeddings.LayerNorm")
"""A norm of the embedding before it enters the residual stream (BLOOM, ModernBERT, BERT)."""


def first_of(module: nn.Module, names: Sequence[str]) -> nn.Module:
    """The first submodule of these names that there is."""
    there = dict(module.named_modules())
    return next(there[name] for name in names if name in there)


class OracleScores(NamedTuple):
    """Scores averaged over pairs: `nodes` [n_nodes] in node order, `input` a scalar tensor."""

    nodes: Tensor
    input: Tensor


class PairRun(NamedTuple):
    """What every method needs of one pair: its tokens and its two plain runs."""

    clean: Tensor
    corrupt: Tensor
    answers: Tensor
    clean_logits: Tensor
    clean_acts: Activations
    corrupt_logits: Tensor
    corrupt_acts: Activations


def logit_difference(last_logits: Tensor, answers: Tensor, clean_logits: Tensor) -> Tensor:
    """Answer minus wrong answer."""
    return last_logits[:, answers[0, 0]] - last_logits[:, answers[0, 1]]


def cpr(ks: Sequence[float], f: Tensor) -> float:
    """Trapezoid area under f against the kept proportion."""
    return sum((ks[i + 1] - ks[i]) * float(f[i + 1] + f[i]) / 2 for i in range(len(ks) - 1))


def cmd(ks: Sequence[float], f: Tensor) -> float:
    """Trapezoid area under |1 - f|."""
    return cpr(ks, (1 - f).abs())


class Oracle:
    """Reference scores, circuits and soft masks of one Hugging Face model, which is copied."""

    def __init__(
        self,
        hf_model: PreTrainedModel,
        metric: Metric = logit_difference,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.model = copy.deepcopy(hf_model).to(dtype).eval().requires_grad_(False)
        # The fast kernels for mixtures of experts know no float64.
        self.model.set_experts_implementation("eager")
        self.metric, self.dtype = metric, dtype
        base, config = self.model.base_model, self.model.config
        layers = list(first_of(base, LAYERS).children())
        there = dict(base.named_modules())
        norms = [there[name] for name in EMBEDDING_NORMS if name in there]
        self.embedding: nn.Module = norms[0] if norms else base.get_input_embeddings()
        self.projections = [first_of(layer, PROJECTIONS) for layer in layers]
        self.mlps = [first_of(layer, MLPS) for layer in layers]
        self.n_layers, self.n_heads = len(layers), config.num_attention_heads
        width = getattr(self.projections[0], "in_features", None) or self.projections[0].nx
        self.d_head = width // self.n_heads
        self.n_nodes = self.n_layers * (self.n_heads + 1)
        layered = [(kind, layer) for layer in range(self.n_layers) for kind in ("attn", "mlp")]
        self.sites: list[Site] = ["input", *layered]

    def run(self, tokens: Tensor, edit: Edit | None = None) -> tuple[Tensor, Activations]:
        """Run tokens [1, pos]; `edit(site, value)` gives the value to use at each site.

        Returns the logits at the last position [1, vocab] and the (edited) activations in use.
        """
        acts: Activations = {}

        def visit(site: Site, value: Tensor) -> Tensor:
            given, value = value.shape, value.reshape(*tokens.shape, -1)  # OPT's are flattened
            value = value if edit is None else edit(site, value)
            if torch.is_grad_enabled() and not value.requires_grad:
                value = value.clone().requires_grad_()
            acts[site] = value
            # A copy: some models add to an MLP's output in place.
            return value.clone().reshape(given)

        def before(site: Site):
            return lambda module, args: (visit(site, args[0]), *args[1:])

        def after(site: Site):
            def see(module, args, output):
                # A mixture of experts may give its router's choice too.
                if isinstance(output, tuple):
                    return visit(site, output[0]), *output[1:]
                return visit(site, output)

            return see

        hooks = [self.embedding.register_forward_hook(after("input"))]
        for layer, (projection, mlp) in enumerate(zip(self.projections, self.mlps, strict=True)):
            hooks.append(projection.register_forward_pre_hook(before(("attn", layer))))
            hooks.append(mlp.register_forward_hook(after(("mlp", layer))))
        try:
            logits = self.model(input_ids=tokens, use_cache=False).logits[:, -1]
        finally:
            for hook in hooks:
                hook.remove()
        assert set(acts) == set(self.sites), "a hook did not fire"
        return logits, acts

    @torch.no_grad()
    def plain_runs(self, pairs: Pairs) -> list[PairRun]:
        """The clean and the corrupt run of every pair, cut to its real length."""
        runs = []
        for clean, corrupt, answers, length in zip(*pairs, strict=True):
            clean, corrupt = clean[None, : int(length)], corrupt[None, : int(length)]
            both = (*self.run(clean), *self.run(corrupt))
            runs.append(PairRun(clean, corrupt, answers[None], *both))
        return runs

    def ablated_values(self, runs: list[PairRun], ablation: str) -> list[Activations]:
        """Per pair, the value that each site takes when it is ablated."""
        if ablation == "counterfactual":
            return [run.corrupt_acts for run in runs]
        result: list[Activations] = [{} for _ in runs]
        for site in self.sites:
            values = [run.corrupt_acts[site][0] for run in runs]  # each [pos, width]
            positions = range(max(len(v) for v in values))
            if ablation == "zero":
                rows = [torch.zeros_like(values[0][0]) for _ in positions]
            elif ablation == "mean":
                rows = [torch.cat(values).mean(0) for _ in positions]
            elif ablation == "mean-positional":
                rows = [
                    torch.stack([v[p] for v in values if len(v) > p]).mean(0) for p in positions
                ]
            else:
                raise ValueError(f"unknown ablation {ablation!r}")
            for ablated, value in zip(result, values, strict=True):
                ablated[site] = torch.stack(rows)[None, : len(value)]
        return result

    def measure(self, logits: Tensor, run: PairRun) -> Tensor:
        return self.metric(logits, run.answers, run.clean_logits)

    def _spread(self, site: Site, per_node: Tensor) -> Tensor:
        """The entries of per_node [n_nodes] that belong to a site, over the site's width."""
        kind, layer = site
        first = int(layer) * (self.n_heads + 1)
        if kind == "attn":
            return per_node[first : first + self.n_heads].repeat_interleave(self.d_head)
        return per_node[first + self.n_heads]

    def _scores(self, deltas: Activations, gradients: Activations) -> OracleScores:
        """Sum of delta * gradient over each node's positions and width, for one pair."""
        products = {site: (deltas[site] * gradients[site])[0].sum(0) for site in self.sites}
        scores = []
        for layer in range(self.n_layers):
            scores += [head.sum() for head in products["attn", layer].split(self.d_head)]
            scores.append(products["mlp", layer].sum())
        return OracleScores(torch.stack(scores), products["input"].sum())

    @staticmethod
    def _mean(scores: list[OracleScores]) -> OracleScores:
        nodes, inputs = zip(*scores, strict=True)
        return OracleScores(torch.stack(nodes).mean(0), torch.stack(inputs).mean(0))

    def _gradients(self, run: PairRun, edit: Edit | None = None) -> Activations:
        """dm/da at every site, of the clean prompt's run under `edit`."""
        with torch.enable_grad():
            logits, acts = self.run(run.clean, edit)
            metric = self.measure(logits, run).sum()
            gradients = torch.autograd.grad(metric, [acts[site] for site in self.sites])
        return dict(zip(self.sites, gradients, strict=True))

    def _each_pair(self, pairs: Pairs, ablation: str):
        """(run, ablated values, clean minus ablated) of every pair."""
        runs = self.plain_runs(pairs)
        for run, ablated in zip(runs, self.ablated_values(runs, ablation), strict=True):
            yield run, ablated, {s: run.clean_acts[s] - ablated[s] for s in self.sites}

    def nap(self, pairs: Pairs, ablation: str = "counterfactual") -> OracleScores:
        """(a_clean - a_abl) . dm/da at the clean run."""
        each = self._each_pair(pairs, ablation)
        return self._mean([self._scores(delta, self._gradients(run)) for run, _, delta in each])

    def _path_gradient(
        self, run: PairRun, site: Site, ablated: Tensor, delta: Tensor, steps: int
    ) -> Activations:
        """Mean gradients over runs with `site` at ablated + k/steps * delta, k = 1..steps."""
        points = [ablated + k / steps * delta for k in range(1, steps + 1)]
        each = [self._gradients(run, lambda s, a, p=p: p if s == site else a) for p in points]
        return {s: torch.stack([gradients[s] for gradients in each]).mean(0) for s in self.sites}

    def nap_ig_inputs(self, pairs: Pairs, steps: int = 5) -> OracleScores:
        """nap with the gradient averaged along the embeddings from corrupt to clean."""
        scores = []
        for run, ablated, delta in self._each_pair(pairs, "counterfactual"):
            mean = self._path_gradient(run, "input", ablated["input"], delta["input"], steps)
            scores.append(self._scores(delta, mean))
        return self._mean(scores)

    def nap_ig_activations(
        self, pairs: Pairs, steps: int = 5, ablation: str = "counterfactual"
    ) -> OracleScores:
        """nap with each site's gradient averaged along that site's own path, site by site."""
        scores = []
        for run, ablated, delta in self._each_pair(pairs, ablation):
            means = {
                s: self._path_gradient(run, s, ablated[s], delta[s], steps)[s] for s in self.sites
            }
            scores.append(self._scores(delta, means))
        return self._mean(scores)

    @torch.no_grad()
    def exact(self, pairs: Pairs, ablation: str = "counterfactual") -> OracleScores:
        """m(clean) - m(clean run with this one node at its ablated value)."""
        scores = []
        for run, ablated, _ in self._each_pair(pairs, ablation):
            clean = self.measure(run.clean_logits, run)[0]
            nodes = []
            for node in range(self.n_nodes):
                kept = torch.arange(self.n_nodes) != node
                nodes.append(clean - self._circuit_run(run, ablated, kept)[0])
            logits, _ = self.run(
                run.clean, lambda s, a, new=ablated["input"]: new if s == "input" else a
            )
            scores.append(OracleScores(torch.stack(nodes), clean - self.measure(logits, run)[0]))
        return self._mean(scores)

    def _circuit_run(
        self, run: PairRun, ablated: Activations, kept: Tensor, keep_input: bool = True
    ) -> Tensor:
        def edit(site: Site, value: Tensor) -> Tensor:
            if site == "input":
                return value if keep_input else ablated[site].expand_as(value)
            return torch.where(self._spread(site, kept), value, ablated[site])

        return self.measure(self.run(run.clean, edit)[0], run)

    @torch.no_grad()
    def circuit_metric(
        self, pairs: Pairs, kept: Tensor, ablation: str = "counterfactual"
    ) -> Tensor:
        """Per-pair metric [n]: clean prompt, nodes outside kept [n_nodes] bool are ablated."""
        each = self._each_pair(pairs, ablation)
        return torch.cat([self._circuit_run(run, ablated, kept) for run, ablated, _ in each])

    @torch.no_grad()
    def empty_metric(self, pairs: Pairs, ablation: str, keep_input: bool) -> Tensor:
        """Per-pair metric [n] of the clean prompt with every node ablated, and the input or not."""
        none = torch.zeros(self.n_nodes, dtype=torch.bool)
        each = self._each_pair(pairs, ablation)
        runs = [self._circuit_run(run, ablated, none, keep_input) for run, ablated, _ in each]
        return torch.cat(runs)

    def clean_corrupt_metric(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Per-pair metric [n] of the plain clean and the plain corrupt run."""
        runs = self.plain_runs(pairs)
        clean = torch.cat([self.measure(run.clean_logits, run) for run in runs])
        return clean, torch.cat([self.measure(run.corrupt_logits, run) for run in runs])

    def faithfulness(
        self,
        pairs: Pairs,
        scores: Tensor,
        ks: Sequence[float],
        ablation: str = "counterfactual",
    ) -> Tensor:
        """f [len(ks)] under the protocol `nodes`: the best int(k * n_nodes) by signed score."""
        order = torch.sort(scores, descending=True, stable=True).indices
        return self._curve(pairs, [order[: int(k * self.n_nodes)] for k in ks], ablation, True)

    def faithfulness_mib(
        self,
        pairs: Pairs,
        scores: Tensor,
        input_score: Tensor | float,
        ks: Sequence[float],
        ablation: str = "counterfactual",
    ) -> Tensor:
        """f [len(ks)] under `mib`: `input` is item 0 of n_nodes + 1; f = 0 while it is left out."""
        items = torch.cat([torch.as_tensor(input_score).reshape(1).to(scores), scores])
        order = torch.sort(items, descending=True, stable=True).indices
        best = [order[: int(k * len(items))] for k in ks]
        circuits = [b[b > 0] - 1 if (b == 0).any() else None for b in best]
        return self._curve(pairs, circuits, ablation, False)

    def _curve(
        self, pairs: Pairs, circuits: Sequence[Tensor | None], ablation: str, keep_input: bool
    ) -> Tensor:
        """f of each circuit, given as node indices, or None for a disconnected one."""
        clean, zero = (metric.mean() for metric in self.clean_corrupt_metric(pairs))
        if ablation != "counterfactual":
            zero = self.empty_metric(pairs, ablation, keep_input).mean()
        f = torch.zeros(len(circuits), dtype=self.dtype)
        for i, nodes in enumerate(circuits):
            if nodes is not None:
                kept = torch.zeros(self.n_nodes, dtype=torch.bool)
                kept[nodes] = True
                value = self.circuit_metric(pairs, kept, ablation).mean()
                f[i] = (value - zero) / (clean - zero)
        return f

    def soft_mask_loss(
        self, pairs: Pairs, mask: Tensor, sparsity: float = 0.0, objective: str = "injection"
    ) -> tuple[Tensor, Tensor]:
        """Mean KL(P_clean || P_intervened) + sparsity * mean(mask), and last logits [n, vocab].

        `injection`: the corrupt prompt with every node at a + m_j (a_clean - a); `removal`: the
        clean prompt with every node at a + (1 - m_j) (a_corrupt - a). a is the value that the node
        takes in this very run; the embedding is the prompt's. Differentiable in mask [n_nodes].
        """
        mask, divergences, all_logits = mask.to(self.dtype), [], []
        for run in self.plain_runs(pairs):
            if objective == "removal":
                prompt, toward, moved = run.clean, run.corrupt_acts, 1 - mask
            else:
                prompt, toward, moved = run.corrupt, run.clean_acts, mask

            def edit(
                site: Site, value: Tensor, toward: Activations = toward, moved: Tensor = moved
            ) -> Tensor:
                if site == "input":
                    return value
                return value + self._spread(site, moved) * (toward[site] - value)

            logits, _ = self.run(prompt, edit)
            log_p, log_q = run.clean_logits.log_softmax(-1), logits.log_softmax(-1)
            divergences.append((log_p.exp() * (log_p - log_q)).sum())
            all_logits.append(logits[0])
        return torch.stack(divergences).mean() + sparsity * mask.mean(), torch.stack(all_logits)
