"""`attribute`: score every node of a model on some pairs.

Scores are averaged over pairs, so they do not depend on the batch size, on the order of the pairs
or on padding. Positive: the node supports the clean behaviour. The unit is the metric's.

Under `counterfactual`, a_clean - a_ablated is 0 before the first position in which the prompts of
a pair differ, so these positions add nothing to a score and are run once for all passes of a batch
(`dfa_tl.models.shared_prefix`).
"""

from __future__ import annotations

import torch
from tqdm.auto import tqdm

from dfa_tl.arguments import checked_arguments
from dfa_tl.attribution.gradients import PairScores
from dfa_tl.attribution.registry import METHODS, Method
from dfa_tl.errors import ConfigError, NumericsError
from dfa_tl.models.ablation import AblatedValues
from dfa_tl.models.batching import Halving
from dfa_tl.models.chance_accuracy import ChanceAccuracyWarning
from dfa_tl.models.diagnosis import where_not_finite
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.shared_prefix import shared_prefix
from dfa_tl.scores import NodeScores
from dfa_tl.settings import check_choice, whole_number
from dfa_tl.tasks.batches import PairBatch
from dfa_tl.tasks.metrics import Metric, kl, logit_diff
from dfa_tl.tasks.pairs import PairDataset


@checked_arguments
def attribute(
    model: NodeModel,
    data: PairDataset,
    method: str = "nap-ig-inputs",
    *,
    ig_steps: int = 5,
    ablation: str = "counterfactual",
    metric: Metric = logit_diff,
    at: str = "clean",
    batch_size: int = 16,
    progress: bool = True,
) -> NodeScores:
    """Score every node of `model` on the pairs of `data`.

    The formulas are in `dfa_tl.attribution.nap`, `ig_activations` and `exact`.

    Args:
        model: The model; it is not changed, not even when an error is raised.
        data: The pairs.
        method: `nap`, `nap-ig-inputs`, `nap-ig-activations`, `exact`, or one of your own
            (`dfa_tl.attribution.registry`).
        ig_steps: Steps m of the integrated gradients.
        ablation: What the activation of an ablated node becomes: `counterfactual`, `zero`, `mean`
            or `mean-positional` (`nap-ig-inputs` takes only the first).
        metric: What is attributed; see `dfa_tl.tasks.metrics`.
        at: The run at which `nap` takes the gradient:
            `clean`, score = (a_clean - a_ablated) . dm/da at the clean run; or
            `corrupt`, score = (a_clean - a_corrupt) . dm/da at the corrupt run, only with
            `ablation="counterfactual"`. The other methods take only `clean`.
        batch_size: Pairs per run; it changes memory and speed, not the scores.
        progress: Show a progress bar.

    Returns:
        The scores, with the embedding's in `NodeScores.input`.

    Raises:
        ConfigError: no `NodeModel`, an unknown method or ablation, settings that contradict each
            other, a number of steps or pairs that is not a whole number from 1, or a metric that
            does not give one number per pair.
        DataError: no pairs, or pairs that cannot be used with this model's tokenizer.
        NumericsError: a score is not finite.

    Example:
        >>> model, data = load_model("toy-small"), load_task("ioi", n=8)
        >>> scores = attribute(model, data, "nap-ig-inputs")
        >>> [node.name for node in scores.top(3)]
        ['m2', 'a2.h2', 'a2.h3']
    """
    chosen = METHODS.find(method)
    chosen.check_ablation(ablation)
    ig_steps = whole_number("ig_steps", ig_steps, 1)
    _check_at(at, chosen, ablation)
    halving, look = Halving(), ChanceAccuracyWarning(model, data.name)

    def score(batch: PairBatch) -> PairScores:
        may_share = chosen.shares_prefix and ablated.per_pair
        with model.partial_run.continued(shared_prefix(model, batch) if may_share else None):
            if metric is kl:
                with torch.no_grad():
                    logits = model.last_logits(batch.clean, batch.mask, batch.last)
                batch = batch.with_clean_logits(logits)
            with look.at(batch):
                if at == "corrupt" and chosen.score_at_corrupt is not None:
                    return chosen.score_at_corrupt(model, batch, metric)
                return chosen.score(model, batch, ablated, metric, ig_steps)

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
                        f"{part.index[:10].numpy().tolist()} of {data.name!r}: "
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
            "prepend_bos": model.prepend_bos,
            "dtype": model.dtype_name,
            "architecture": model.architecture,
            "task": data.name,
            "method": method,
            "ablation": ablation,
            "metric": getattr(metric, "__name__", str(metric)),
            "ig_steps": ig_steps if chosen.has_steps else None,
            "at": at if chosen.score_at_corrupt else None,
            "pairs": len(pairs),
        },
    )


def _check_at(at: str, method: Method, ablation: str) -> None:
    check_choice("at", at, ("clean", "corrupt"))
    if at == "corrupt" and method.score_at_corrupt is None:
        raise ConfigError(
            f"{method.name} takes no gradient at the corrupt run: leave at='clean', or choose "
            "method='nap'"
        )
    if at == "corrupt" and ablation != "counterfactual":
        raise ConfigError(
            "at='corrupt' takes the gradient at the pair's corrupt run, so an ablated node has its "
            f"activation from there: use ablation='counterfactual', not {ablation!r}"
        )
