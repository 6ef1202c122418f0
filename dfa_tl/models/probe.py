"""One short run that shows whether a model's hook points are its nodes.

The name of a hook point promises what is found there; this run shows it. Four rows of a few tokens:

    rows 0 and 1   run as they are; they differ in their last two tokens
    rows 2 and 3   have the tokens of row 0, but the z of a layer's heads is one vector at all
                   positions, and so is the output of its MLP: zero in row 2, v in row 3

Up to rounding, these must hold:

    shapes         hook_z is [row, pos, n_heads, d_head]; hook_mlp_out and the residual stream are
                   [row, pos, d_model]; each fires once in a run, in every layer
    heads          z, one head after the other, is what the output projection of attention takes in
    causality      rows 0 and 1 have equal logits at all positions but the last two
    completeness   a layer whose heads and MLP are constant multiplies the stream that enters it by
                   a number and adds a constant vector: nothing else writes to the stream
    MLPs           row 3 differs from row 2 by a multiple of v: what is read at hook_mlp_out is
                   what the MLP writes, but for a constant factor; no norm stands between

Some models (GPT-1) norm the stream itself after each addition. A layer of theirs is cut at these
norms, and what lies between two of them must obey the last two rules.

A second run, of one row of two tokens, shows that the gradient of the logits reaches every node:
some hook points pass a value on only where a hook has changed it.

Cost: one forward run of 4 x 6 tokens, and one of 1 x 2 tokens forward and backward. Memory: their
residual streams.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dfa_tl.display import first_line
from dfa_tl.errors import ModelError
from dfa_tl.models.isolation import unchanged, without_user_hooks
from dfa_tl.models.state import remove_hook
from dfa_tl.nodes import NodeSet, head_site, mlp_site

POSITIONS = 6
HELD, MOVED = 2, 3
"""The rows whose nodes are constant: the MLPs write zero in one, v in the other."""
TOLERANCE = {
    torch.float64: 1e-4,  # Transformers computes norms and softmaxes in float32 all the same
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""Largest relative error by the dtype of the weights."""


def tolerance_of(dtype: torch.dtype) -> float:
    """The largest relative error that can be rounding."""
    return TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16])


def residual_site(layer: int) -> str:
    """Hook point of the residual stream entering a layer."""
    return f"blocks.{layer}.hook_resid_pre"


def mask_option(tl: nn.Module, mask: Tensor) -> dict[str, Tensor]:
    """The padding mask as an option of a run, for a model that needs one.

    A causal model that is padded on the right needs none at its real positions, and some (GPT-1)
    take it in a form that switches their causal mask off. A `HookedTransformer` whose tokenizer
    pads on the left makes a mask of its own when it is given none, and leaves out real tokens that
    look like padding.
    """
    own = not hasattr(tl, "original_model")
    left = getattr(getattr(tl, "tokenizer", None), "padding_side", "right") == "left"
    return {"attention_mask": mask.long()} if own and left else {}


@torch.no_grad()
def probe(
    tl: nn.Module,
    name: str,
    nodes: NodeSet,
    points: Mapping[str, Any],
    *,
    user_hooks: bool = False,
) -> float:
    """Run the probe.

    Args:
        tl: The model.
        name: Its name, for messages.
        nodes: Its nodes.
        points: The hook points of all nodes and of the residual stream entering each layer.
        user_hooks: Whether hooks that are on the model run too, as parts of it.

    Returns:
        The largest relative error of a residual stream.

    Raises:
        ModelError: the model cannot be run, or its hook points are not its nodes; says why.
    """
    run = _Run(tl, name, nodes)
    handles: list[tuple[Any, Any]] = []
    with unchanged(tl), ExitStack() as stack:
        stack.enter_context(nullcontext() if user_hooks else without_user_hooks(tl))
        blocks: Any = tl.blocks
        for layer in range(nodes.n_layers):
            stack.enter_context(run.seeing(blocks[layer], layer))
        try:
            for site, act in run.actions().items():
                points[site].add_hook(act)
                handles.append((points[site], points[site].fwd_hooks[-1]))
            logits = tl(run.tokens, return_type="logits", **mask_option(tl, run.tokens > -1))
        except ModelError:
            raise
        # The model's own code raises whatever it raises.
        except Exception as error:
            raise ModelError(f"{name} cannot be run ({first_line(error)})") from error
        finally:
            for point, handle in handles:
                remove_hook(point, handle)
    error = run.largest_error(logits)
    with unchanged(tl), nullcontext() if user_hooks else without_user_hooks(tl):
        _check_gradients(tl, name, run.tokens[:1, :2], {s: points[s] for s in run.node_sites()})
    return error


def _check_gradients(tl: nn.Module, name: str, tokens: Tensor, points: Mapping[str, Any]) -> None:
    """Raise `ModelError` where no gradient of the logits reaches a hook point."""
    leaves: dict[str, Tensor] = {}

    def leaf_at(site: str) -> Callable[..., Tensor]:
        def make_leaf(activation: Tensor, hook: Any) -> Tensor:
            leaves[site] = activation.detach().clone().requires_grad_()
            return leaves[site]

        return make_leaf

    handles: list[tuple[Any, Any]] = []
    try:
        for site, point in points.items():
            point.add_hook(leaf_at(site))
            handles.append((point, point.fwd_hooks[-1]))
        logits = tl(tokens, return_type="logits", **mask_option(tl, tokens > -1))
        gradients = torch.autograd.grad(logits.sum(), [*leaves.values()], allow_unused=True)
    finally:
        for point, handle in handles:
            remove_hook(point, handle)
    for site, gradient in zip(leaves, gradients, strict=True):
        if gradient is None:
            raise ModelError(
                f"in {name} no gradient reaches {site}, so nodes cannot be attributed there"
            )


class _Run:
    """The probe's tokens, what it does at each site, and what it saw there."""

    def __init__(self, tl: nn.Module, name: str, nodes: NodeSet) -> None:
        cfg: Any = tl.cfg
        embed: Any = tl.embed
        self.name, self.nodes, self.width = name, nodes, int(cfg.d_model)
        self.tolerance = tolerance_of(next(iter(tl.parameters())).dtype)
        self.random = torch.Generator().manual_seed(0)
        self.fired: Counter[str] = Counter()
        self.heads: dict[int, Tensor] = {}
        self.projected: dict[int, Tensor] = {}
        self.moves: dict[int, Tensor] = {}
        self.entering: dict[int, Tensor] = {}
        self.leaving: dict[int, Tensor] = {}
        self.norms: dict[int, list[Tensor]] = {}
        vocabulary, positions = int(cfg.d_vocab), min(POSITIONS, int(cfg.n_ctx))
        row = torch.arange(1, positions + 1) * max(1, int(0.618 * vocabulary)) % vocabulary
        self.tokens = row.repeat(4, 1).to(next(iter(embed.parameters())).device)
        self.tokens[1, -2:] = (self.tokens[1, -2:] + vocabulary // 2) % vocabulary

    def actions(self) -> dict[str, Callable[..., Tensor | None]]:
        """What is done at each site."""
        actions = {}
        for layer in range(self.nodes.n_layers):
            for site, act in (
                (residual_site(layer), self._see_stream),
                (head_site(layer), self._hold_heads),
                (mlp_site(layer), self._hold_mlp),
            ):
                actions[site] = self._at(site, layer, act)
        return actions

    def node_sites(self) -> list[str]:
        """Hook points of the nodes."""
        layers = range(self.nodes.n_layers)
        return [site(layer) for layer in layers for site in (head_site, mlp_site)]

    def _at(
        self, site: str, layer: int, act: Callable[[int, Tensor], Tensor | None]
    ) -> Callable[..., Tensor | None]:
        is_head = site == head_site(layer)
        wanted = (*self.tokens.shape, self.nodes.n_heads if is_head else self.width)

        def run(activation: Any, hook: Any) -> Tensor | None:
            self.fired[site] += 1
            shape = tuple(getattr(activation, "shape", ()))
            if shape[:3] != wanted or len(shape) != 3 + is_head:
                axes = "[row, pos, n_heads, d_head]" if is_head else "[row, pos, d_model]"
                raise ModelError(
                    f"{self.name} has {list(shape)} at {site}, expected {axes} with "
                    f"{list(wanted)}: its nodes cannot be told apart there"
                )
            return act(layer, activation)

        return run

    def _vector(self, like: Tensor) -> Tensor:
        """A random vector of about the activation's size, so that neither drowns in the other."""
        size = like[:HELD].float().pow(2).mean().sqrt().cpu()
        return (size * torch.randn(like.shape[2:], generator=self.random)).to(like)

    def _hold_heads(self, layer: int, z: Tensor) -> Tensor:
        z = z.clone()
        z[HELD:] = self._vector(z)
        self.heads[layer] = z.flatten(2).clone()
        return z

    def _hold_mlp(self, layer: int, written: Tensor) -> Tensor:
        self.moves[layer] = self._vector(written)
        written = written.clone()
        written[HELD], written[MOVED] = 0, self.moves[layer]
        return written

    def _see_stream(self, layer: int, stream: Tensor) -> None:
        self.entering[layer] = stream.clone()
        self.leaving[layer - 1] = self.entering[layer]

    @contextmanager
    def seeing(self, block: Any, layer: int) -> Iterator[None]:
        """Note what leaves a layer, and what its norms and its output projection take in."""

        def leaves(module: nn.Module, args: Any, output: Any) -> None:
            stream = output[0] if isinstance(output, (tuple, list)) else output
            self.leaving[layer] = stream.clone()

        def norms(module: nn.Module, args: Any, output: Tensor) -> None:
            # OPT's have rows and positions in one axis.
            shape = (*self.tokens.shape, -1)
            seen = [args[0].clone().reshape(shape), output.clone().reshape(shape)]
            self.norms.setdefault(layer, []).extend(seen)

        def projects(module: nn.Module, args: Any) -> None:
            self.projected[layer] = args[0].clone()

        handles = [block.register_forward_hook(leaves)]
        for norm in ("ln1", "ln2"):
            if isinstance(module := getattr(block, norm, None), nn.Module):
                handles.append(module.register_forward_hook(norms))
        # A HookedTransformer has no module for it: there z is contracted with W_O itself.
        projection = getattr(getattr(block.attn, "o", None), "original_component", None)
        if isinstance(projection, nn.Module):
            handles.append(projection.register_forward_pre_hook(projects))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def largest_error(self, logits: Any) -> float:
        """The largest error of a stream. Raises `ModelError` for what does not hold."""
        for site in self.actions():
            if self.fired[site] != 1:
                raise ModelError(
                    f"in {self.name} {site} fires {self.fired[site]} times in a run, expected "
                    "once: layers are left out or run again, so they are not one set of nodes each"
                )
        if not isinstance(logits, Tensor) or logits.shape[:2] != self.tokens.shape:
            raise ModelError(f"{self.name} gives no logits at each position")
        if not logits.isfinite().all():
            return float("nan")  # told where the numbers are used
        before = logits[:HELD, :-2].float()
        if self._differ(before[0], before[1]):
            raise ModelError(
                f"{self.name} is not a causal language model: its logits at a position depend on "
                "the tokens after it"
            )
        return max(self._layer_error(layer) for layer in range(self.nodes.n_layers))

    def _differ(self, found: Tensor, expected: Tensor) -> bool:
        if found.shape != expected.shape or not found.numel():
            return found.shape != expected.shape
        found, expected = found.float(), expected.float().to(found.device)
        return bool((found - expected).abs().max() > self.tolerance * expected.abs().max())

    def _layer_error(self, layer: int) -> float:
        taken = self.projected.get(layer)
        if taken is not None and self._differ(taken, self.heads[layer]):
            raise ModelError(
                f"in {self.name} {head_site(layer)} is not what the output projection of layer "
                f"{layer}'s attention takes in, so heads cannot be patched there"
            )
        stages = [self.entering[layer], self.leaving[layer]]
        norms = self.norms.get(layer, [])
        if norms and not self._differ(norms[-1], stages[1]):
            stages = [stages[0], *norms[:-1]]
        errors = []
        for first in range(0, len(stages), 2):
            is_last = first == len(stages) - 2
            move = self.moves[layer] if is_last else None
            errors.append(self._stream_error(layer, stages[first], stages[first + 1], move))
        return max(errors)

    def _stream_error(
        self, layer: int, entering: Tensor, leaving: Tensor, move: Tensor | None
    ) -> float:
        """Largest part of `leaving` that is no multiple of `entering`, nor of `move`."""
        start = entering[HELD:].float()
        end = leaving[HELD:].float().to(start.device)
        varying, left = (each[0] - each[0].mean(0) for each in (start, end))
        factor = _multiple(left, varying)
        error = float((left - factor * varying).abs().max() / end.abs().max())
        where = f"in {self.name} the stream leaving layer {layer} differs from"
        if error > self.tolerance:
            raise ModelError(
                f"{where} a multiple of what enters it by {error:.2e} of its largest value while "
                "heads and MLP are held constant: something else writes to the residual stream, or "
                "more than is read at their hook points, so scores of nodes would not account for "
                "what the model does"
            )
        if move is None:
            return error
        held, moved = end - factor * start
        direction = move.float().to(end.device).expand_as(moved)
        factor = _multiple(moved - held, direction)
        unlike = float((moved - held - factor * direction).abs().max() / end.abs().max())
        reached = float((factor * direction).abs().max() / end.abs().max())
        if unlike > self.tolerance or reached <= self.tolerance:
            raise ModelError(
                f"{where} a multiple of what is set at {mlp_site(layer)} by {unlike:.2e} of its "
                f"largest value, of which that is {reached:.2e}: it is not what the MLP writes to "
                "the residual stream, so it cannot be patched there"
            )
        return max(error, unlike)


def _multiple(of: Tensor, direction: Tensor) -> Tensor:
    """The factor by which `direction` comes nearest to `of`."""
    return (of * direction).sum() / (direction * direction).sum().clamp(min=1e-30)
