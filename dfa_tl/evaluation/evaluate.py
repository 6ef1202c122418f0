"""`evaluate`: run circuits on the target and measure what they recover.

A circuit runs on the clean prompt with the clean embedding; every node outside it takes its ablated
value (by default, that of the pair's corrupt run) and the nodes inside recompute.

Which run has f = 0 depends on the ablation. Under `counterfactual` it is the corrupt run. Under the
others it is the run in which everything that the protocol ranks is ablated: every node, and under
`mib` the input too, as in the Mechanistic Interpretability Benchmark.

Cost per batch: one clean run, one corrupt run, one run of the empty circuit (not under
`counterfactual`), and one run for each *distinct* circuit, however many score vectors, grids or
metrics there are. Circuits are run in an order in which neighbours agree on as many low layers as
possible, and each starts at the first layer that differs, from the residual stream of the circuit
before it. Under `counterfactual`, the positions before the first in which the prompts of a pair
differ are run once for all of these (`dfa_tl.models.shared_prefix`). Memory: no graph; one residual
stream per layer, and the keys and values of these positions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm.auto import tqdm

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError, NumericsError
from dfa_tl.evaluation.circuits import (
    circuit_key,
    circuits_of,
    distinct_circuits,
    first_layer_run,
)
from dfa_tl.evaluation.curve import MIB_KS, FaithfulnessCurve, check_grid
from dfa_tl.models.ablation import AblatedValues, check_ablation
from dfa_tl.models.batching import Halving
from dfa_tl.models.diagnosis import where_not_finite
from dfa_tl.models.interventions import capture, interpolate, site_weights
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.partial_run import Resume, residual_site
from dfa_tl.models.shared_prefix import shared_prefix
from dfa_tl.nodes import EMBED_SITE
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.tasks.batches import PairBatch
from dfa_tl.tasks.metrics import Metric, logit_diff, measured
from dfa_tl.tasks.pairs import PairDataset

logger = logging.getLogger(__name__)


@checked_arguments
def evaluate(
    model: NodeModel,
    data: PairDataset,
    scores: NodeScores,
    *,
    protocol: str = "nodes",
    ks: Sequence[float] = MIB_KS,
    metric: Metric = logit_diff,
    ablation: str = "counterfactual",
    absolute: bool = False,
    batch_size: int = 16,
    progress: bool = True,
) -> FaithfulnessCurve:
    """The faithfulness curve of the circuits that `scores` keeps.

    Args:
        model: The model; it is not changed.
        data: The pairs to measure on.
        scores: The scores that rank the nodes.
        protocol: `nodes` or `mib`; see `dfa_tl.evaluation.circuits`.
        ks: Proportions of nodes to keep.
        metric: What is measured at the last position.
        ablation: What a node outside the circuit becomes.
        absolute: Rank by absolute instead of signed score.
        batch_size: Pairs per run; it changes memory and speed, not the result.
        progress: Show a progress bar.

    Raises:
        ScoresError: the scores belong to another model's nodes.
        ConfigError: an unknown protocol or ablation, a grid that does not rise within [0, 1], a
            batch size that is not a whole number from 1, or a metric that does not give one number
            per pair.
        DataError: no pairs, or pairs that cannot be used with this model's tokenizer.
        NumericsError: m(clean) equals m of the run with f = 0, or the metric is not finite.

    Example:
        >>> model = load_model("toy-small")
        >>> gold = attribute(model, load_task("ioi", n=16))
        >>> curve = evaluate(model, load_task("ioi", split="test", n=16), gold)
        >>> print(f"CPR {curve.cpr:.2f}, floor {curve.floor:.2f}")
        CPR 0.79, floor 0.25
    """
    curves = evaluate_many(
        model,
        data,
        {"scores": scores},
        protocol=protocol,
        ks=ks,
        metrics={"metric": metric},
        ablation=ablation,
        absolute=absolute,
        batch_size=batch_size,
        progress=progress,
    )
    return curves["scores"]["metric"]


@checked_arguments
def evaluate_many(
    model: NodeModel,
    data: PairDataset,
    scores: Mapping[str, NodeScores],
    *,
    protocol: str = "nodes",
    ks: Sequence[float] = MIB_KS,
    metrics: Mapping[str, Metric] | None = None,
    ablation: str = "counterfactual",
    absolute: bool = False,
    batch_size: int = 16,
    progress: bool = True,
) -> dict[str, dict[str, FaithfulnessCurve]]:
    """Curves of several score vectors under several metrics, from the same runs.

    The clean and corrupt runs and all equal circuits are run once. Arguments and errors are those
    of `evaluate`.

    Returns:
        `curves[scores_name][metric_name]`.
    """
    check_ablation(ablation)
    grid = check_grid(ks)
    wanted = {"logit_diff": logit_diff} if metrics is None else dict(metrics)
    if not scores or not wanted:
        raise ConfigError("nothing to evaluate: give at least one score vector and one metric")
    for vector in scores.values():
        check_nodes(vector, model.nodes, model.name)
    circuits = {
        name: circuits_of(vector, grid, protocol, absolute=absolute)
        for name, vector in scores.items()
    }
    kept, lookup = distinct_circuits(circuits)
    pairs = data.tokenize(model)
    without_input = ablation != "counterfactual" and protocol == "mib"
    corrupt, clean, empty = 0, 1, 2
    first_circuit = 2 if ablation == "counterfactual" else 3
    baseline = corrupt if ablation == "counterfactual" else empty
    values = np.full((len(wanted), first_circuit + len(kept), len(pairs)), np.nan)
    halving = Halving()

    def measure(batch: PairBatch) -> Float[Tensor, "metric run batch"]:
        with model.partial_run.continued(shared_prefix(model, batch) if ablated.per_pair else None):
            runs = [
                torch.stack([measured(metric, logits, whole).cpu() for metric in wanted.values()])
                for logits, whole in _runs(model, batch, kept, ablated, without_input)
            ]
        return torch.stack(runs, dim=1)

    with model.unchanged(), torch.no_grad():
        ablated = AblatedValues(model, pairs, ablation, batch_size)
        bar = tqdm(
            pairs.row_batches(batch_size),
            f"evaluate {model.name} {data.name}",
            disable=not progress,
        )
        for rows in bar:
            for part, result in halving(pairs.select(rows, model.device), measure):
                if not result.isfinite().all():
                    raise NumericsError(
                        f"a metric on {model.name} is not finite in pairs "
                        f"{part.index[:10].numpy().tolist()} of {data.name!r}: "
                        f"{where_not_finite(model, part)}"
                    )
                values[:, :, part.index.numpy()] = result.numpy()
    for row, function in enumerate(wanted.values()):
        lower = {"on corrupt prompts": corrupt, "in the empty circuit": baseline}
        for where, run in lower.items():
            if values[row, clean].mean() < values[row, run].mean():
                logger.warning(
                    "%s on %r is lower on clean prompts than %s: %s cannot do the task, or the "
                    "answers are swapped, and faithfulness rewards what supports the wrong answer. "
                    "See report_pairs",
                    getattr(function, "__name__", "the metric"),
                    data.name,
                    where,
                    model.name,
                )
                break
    return {
        name: {
            metric_name: FaithfulnessCurve(
                ks=grid,
                n_kept=tuple(circuits[name].kept.sum(1).numpy().tolist()),
                pair_values=values[row][
                    [
                        first_circuit + lookup[circuit_key(mask)] if connected else baseline
                        for mask, connected in zip(
                            circuits[name].kept, circuits[name].connected.numpy(), strict=True
                        )
                    ]
                ],
                clean=values[row, clean],
                corrupt=values[row, corrupt],
                empty=None if baseline == corrupt else values[row, empty],
                protocol=protocol,
                metric=getattr(function, "__name__", metric_name),
                provenance={
                    "model": model.name,
                    "prepend_bos": model.prepend_bos,
                    "dtype": model.dtype_name,
                    "task": data.name,
                    "ablation": ablation,
                    "absolute": absolute,
                    "scores": dict(scores[name].provenance),
                },
            )
            for row, (metric_name, function) in enumerate(wanted.items())
        }
        for name in scores
    }


def _runs(
    model: NodeModel,
    batch: PairBatch,
    kept: Bool[Tensor, "circuit node"],
    ablated: AblatedValues,
    without_input: bool,
) -> Iterator[tuple[Tensor, PairBatch]]:
    """Last logits of the corrupt run, of the clean run, and of each circuit.

    Unless the corrupt run has f = 0, the empty circuit comes third; `without_input` ablates the
    input in it too.
    """
    nodes = model.nodes
    values, corrupt_logits = ablated.corrupt_run(batch)
    # The residual stream that entered each layer in the last run: the next one may start there.
    with capture(model, map(residual_site, range(nodes.n_layers))) as stream:
        clean_logits = model.last_logits(batch.clean, batch.mask, batch.last)
    batch = batch.with_clean_logits(clean_logits)
    yield corrupt_logits, batch
    yield clean_logits, batch
    if not ablated.per_pair:
        everything = site_weights(nodes, torch.ones(len(nodes)))
        if without_input:
            everything[EMBED_SITE] = torch.ones(())
        with interpolate(model, values, everything):
            yield model.last_logits(batch.clean, batch.mask, batch.last), batch
    previous = torch.ones(len(nodes), dtype=torch.bool)
    logits = clean_logits
    for mask in kept:
        start = first_layer_run(mask, previous, nodes.n_layers)
        if start < nodes.n_layers:
            weights = site_weights(nodes, (~mask).float(), start)
            changed = {site: weight for site, weight in weights.items() if weight.any()}
            resume = Resume(start, stream[residual_site(start)])
            above = map(residual_site, range(start + 1, nodes.n_layers))
            with capture(model, above) as later, interpolate(model, values, changed):
                logits = model.last_logits(batch.clean, batch.mask, batch.last, resume)
            stream |= later
            previous = mask
        yield logits, batch
