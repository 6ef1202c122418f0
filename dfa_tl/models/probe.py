"""A short run that shows whether a model's hook points are its nodes.

The name of a hook point promises what is found there; this run shows it. Its four rows are those of
`dfa_tl.models.probe_run`: rows 0 and 1 run as they are and differ in their last two tokens; in rows
2 and 3 the nodes are constant. Up to rounding, these must hold:

    shapes         hook_z is [row, pos, n_heads, d_head]; hook_mlp_out and the residual stream are
                   [row, pos, d_model]; each fires once in a run, in every layer
    heads          z, one head after the other, is what the output projection of attention takes in
    causality      rows 0 and 1 have equal logits at all positions but the last two
    completeness   a layer whose heads and MLP are constant multiplies the stream that enters it by
                   a number and adds a constant vector: nothing else writes to the stream
    MLPs           row 3 differs from row 2 by a multiple of v: what is read at hook_mlp_out is
                   what the MLP writes, except for a constant factor; no norm stands between

Some models (GPT-1) norm the stream itself after each addition. A layer of such a model is cut at
these norms, and each part must obey the last two rules.

A second run, of one row of two tokens, shows that the gradient of the logits reaches every node:
some hook points pass a value on only where a hook has changed it.

Cost: one forward run of 4 x 6 tokens, and one of 1 x 2 tokens forward and backward. Memory: their
residual streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dfa_tl.display import first_line
from dfa_tl.errors import ModelError
from dfa_tl.models.isolation import unchanged, without_user_hooks
from dfa_tl.models.partial_run import mask_option, residual_site
from dfa_tl.models.probe_run import HELD, ProbeRun
from dfa_tl.models.state import added_hooks
from dfa_tl.nodes import NodeSet, head_site, mlp_site, node_sites

ABOVE_ROUNDING = 4.0
"""How many times larger than the error the effect of v on the stream has to be."""
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
        user_hooks: Whether the hooks that are on the model run too, as parts of it.

    Returns:
        The largest relative error of a residual stream.

    Raises:
        ModelError: the model cannot be run, or its hook points are not its nodes; says why.
    """
    run = ProbeRun(tl, name, nodes)
    with unchanged(tl), nullcontext() if user_hooks else without_user_hooks(tl):
        with run.recording(tl.blocks, points):
            try:
                logits = tl(run.tokens, return_type="logits", **mask_option(tl, run.tokens > -1))
            except ModelError:
                raise
            # The model's own code raises whatever it raises.
            except Exception as error:
                raise ModelError(f"{name} cannot be run ({first_line(error)})") from error
        error = _largest_error(run, logits, tolerance_of(next(iter(tl.parameters())).dtype))
        _check_gradients(tl, name, run.tokens[:1, :2], {s: points[s] for s in node_sites(nodes)})
    return error


def _check_gradients(tl: nn.Module, name: str, tokens: Tensor, points: Mapping[str, Any]) -> None:
    """Raise `ModelError` where no gradient of the logits reaches a hook point."""
    leaves: dict[str, Tensor] = {}

    def leaf_at(site: str) -> Callable[..., Tensor]:
        def make_leaf(activation: Tensor, hook: Any) -> Tensor:
            leaves[site] = activation.detach().clone().requires_grad_()
            return leaves[site]

        return make_leaf

    with added_hooks((point, leaf_at(site)) for site, point in points.items()):
        logits = tl(tokens, return_type="logits", **mask_option(tl, tokens > -1))
        gradients = torch.autograd.grad(logits.sum(), [*leaves.values()], allow_unused=True)
    for site, gradient in zip(leaves, gradients, strict=True):
        if gradient is None:
            raise ModelError(
                f"in {name} no gradient reaches {site}, so nodes cannot be attributed there"
            )


def _largest_error(run: ProbeRun, logits: Any, tolerance: float) -> float:
    """The largest error of a stream. Raises `ModelError` where a rule does not hold."""
    for layer in range(run.nodes.n_layers):
        for site in (residual_site(layer), head_site(layer), mlp_site(layer)):
            if run.fired[site] != 1:
                raise ModelError(
                    f"in {run.name} {site} fires {run.fired[site]} times in a run, expected once: "
                    "layers are left out or run again, so they are not one set of nodes each"
                )
    if not isinstance(logits, Tensor) or logits.shape[:2] != run.tokens.shape:
        raise ModelError(f"{run.name} gives no logits at each position")
    if not logits.isfinite().all():
        return float("nan")  # reported where the numbers are used
    before = logits[:HELD, :-2].float()
    if _differ(before[0], before[1], tolerance):
        raise ModelError(
            f"{run.name} is not a causal language model: its logits at a position depend on the "
            "tokens after it"
        )
    return max(_layer_error(run, layer, tolerance) for layer in range(run.nodes.n_layers))


def _differ(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    if found.shape != expected.shape or not found.numel():
        return found.shape != expected.shape
    found, expected = found.float(), expected.float().to(found.device)
    return bool((found - expected).abs().max() > tolerance * expected.abs().max())


def _layer_error(run: ProbeRun, layer: int, tolerance: float) -> float:
    taken = run.projected.get(layer)
    if taken is not None and _differ(taken, run.heads[layer], tolerance):
        raise ModelError(
            f"in {run.name} {head_site(layer)} is not what the output projection of layer "
            f"{layer}'s attention takes in, so heads cannot be patched there"
        )
    stages = [run.entering[layer], run.leaving[layer]]
    norms = run.norms.get(layer, [])
    if norms and not _differ(norms[-1], stages[1], tolerance):
        stages = [stages[0], *norms[:-1]]
    errors = []
    for first in range(0, len(stages), 2):
        is_last = first == len(stages) - 2
        move = run.moves[layer] if is_last else None
        errors.append(_stream_error(run, layer, stages[first], stages[first + 1], move, tolerance))
    return max(errors)


def _stream_error(
    run: ProbeRun,
    layer: int,
    entering: Tensor,
    leaving: Tensor,
    move: Tensor | None,
    tolerance: float,
) -> float:
    """Largest part of `leaving` that is a multiple neither of `entering` nor of `move`."""
    start = entering[HELD:].float()
    end = leaving[HELD:].float().to(start.device)
    varying, left = (each[0] - each[0].mean(0) for each in (start, end))
    factor = _multiple(left, varying)
    error = float((left - factor * varying).abs().max() / end.abs().max())
    where = f"in {run.name} the stream leaving layer {layer} differs from"
    if error > tolerance:
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
    if unlike > tolerance or reached <= ABOVE_ROUNDING * unlike:
        raise ModelError(
            f"{where} a multiple of what is set at {mlp_site(layer)} by {unlike:.2e} of its "
            f"largest value (that multiple is {reached:.2e} of it): it is not what the MLP writes "
            "to the residual stream, so it cannot be patched there"
        )
    return max(error, unlike)


def _multiple(of: Tensor, direction: Tensor) -> Tensor:
    """The factor by which `direction` comes nearest to `of`."""
    return (of * direction).sum() / (direction * direction).sum().clamp(min=1e-30)
