"""`attribute`: score every node of a model on some pairs.

Scores are averaged over pairs, so they do not depend on the batch size, on the order of the pairs
or on padding. Positive: the node supports the clean behaviour. The unit is the metric's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from tqdm.auto import tqdm

from dfa_tl.attribution.exact import exact
from dfa_tl.attribution.gradients import PairScores
from dfa_tl.attribution.ig_activations import nap_ig_activations
from dfa_tl.attribution.nap import nap
from dfa_tl.errors import ConfigError, NumericsError
from dfa_tl.models.ablation import AblatedValues, check_ablation
from dfa_tl.models.diagnosis import where_not_finite
from dfa_tl.models.halving import Halving
from dfa_tl.models.wrapper import NodeModel
from dfa_tl.scores import NodeScores
from dfa_tl.tasks.metrics import Metric, kl, logit_diff
from dfa_tl.tasks.pairs import PairBatch, PairDataset

Method = Callable[[NodeModel, PairBatch, AblatedValues, Metric, int], PairScores]


def _plain_nap(
    model: NodeModel, batch: PairBatch, ablated: AblatedValues, metric: Metric, ig_steps: int
) -> PairScores:
    return nap(model, batch, ablated, metric)


METHODS: dict[str, Method] = {
    "nap": _plain_nap,
    "nap-ig-inputs": nap,
    "nap-ig-activations": nap_ig_activations,
    "exact": exact,
}


def attribute(
    model: NodeModel,
    data: PairDataset,
    method: str = "nap-ig-inputs",
    *,
    ig_steps: int = 5,
    ablation: str = "counterfactual",
    metric: Metric = logit_diff,
    batch_size: int = 16,
    progress: bool = True,
) -> NodeScores:
    """Score every node of `model` on the pairs of `data`.

    Args:
        model: The model; it is as it was afterwards, also when an error is raised.
        data: The pairs.
        method: `nap`, `nap-ig-inputs`, `nap-ig-activations` or `exact`.
        ig_steps: Steps m of the integrated gradients.
        ablation: What a left-out node's activation becomes: `counterfactual`, `zero`, `mean` or
            `mean-positional` (`nap-ig-inputs` takes only the first).
        metric: What is attributed; see `dfa_tl.tasks.metrics`.
        batch_size: Pairs per run; it changes memory and speed, not the scores.
        progress: Show a progress bar.

    Returns:
        The scores, with the embedding's in `NodeScores.input`.

    Raises:
        ConfigError: unknown method or ablation, or settings that do not go together.
        DataError: no pairs, or pairs that this model's tokenizer makes unusable.
        NumericsError: a score is not finite.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    check_ablation(ablation)
    if ig_steps < 1:
        raise ConfigError(f"ig_steps={ig_steps}: must be at least 1")
    if method == "nap-ig-inputs" and ablation != "counterfactual":
        raise ConfigError(
            "nap-ig-inputs interpolates between the two prompts of a pair, so it takes only "
            f"ablation='counterfactual', not {ablation!r}"
        )
    halving = Halving()

    def score(batch: PairBatch) -> PairScores:
        if metric is kl:
            with torch.no_grad():
                logits = model.last_logits(batch.clean, batch.mask, batch.last)
            batch = batch.with_clean_logits(logits)
        return METHODS[method](model, batch, ablated, metric, ig_steps)

    with model.unchanged():
        pairs = data.tokenize(model)
        rows_of_batches = pairs.row_batches(batch_size)
        totals = torch.zeros(len(model.nodes) + 1, dtype=torch.float64)
        ablated = AblatedValues(model, pairs, ablation, batch_size)
        bar = tqdm(rows_of_batches, f"{method} {model.name} {data.name}", disable=not progress)
        for rows in bar:
            for part, scores in halving(pairs.select(rows, model.device), score):
                totals[:-1] += scores.nodes.double().sum(0)
                totals[-1] += scores.input.double().sum()
                if not totals.isfinite().all():
                    raise NumericsError(
                        f"{method} on {model.name} gave a score that is not finite, in pairs "
                        f"{part.index.tolist()[:10]} of {data.name!r}: "
                        f"{where_not_finite(model, part)}"
                    )
        means = totals / len(pairs)
        values, input_score = means[:-1].float(), float(means[-1])
    return NodeScores(
        nodes=model.nodes,
        values=values,
        input=input_score,
        provenance={
            "model": model.name,
            "task": data.name,
            "method": method,
            "ablation": ablation,
            "metric": getattr(metric, "__name__", str(metric)),
            "ig_steps": ig_steps if "ig" in method else None,
            "pairs": len(pairs),
        },
    )
