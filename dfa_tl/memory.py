"""`estimate_memory`: how much memory a job will need on top of the weights, before it is run.

The peak grows linearly with the pairs in a batch and, for `align`, with the pairs whose clean
activations are kept. Both slopes are measured on one and two of the longest pairs and extrapolated
to the real sizes:

    peak(batch, kept) = c + b batch + a kept

On a GPU the allocator's own count is used; elsewhere live tensors are counted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from dfa_tl.alignment.align import align
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.arguments import checked_arguments
from dfa_tl.attribution.attribute import attribute
from dfa_tl.attribution.registry import METHODS
from dfa_tl.errors import AlignmentWarning
from dfa_tl.evaluation.evaluate import evaluate
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.tensor_memory import peak_of
from dfa_tl.scores import NodeScores
from dfa_tl.settings import check_choice, whole_number
from dfa_tl.tasks.pairs import PairDataset

OTHER_JOBS = ("evaluate", "align")


def run_job(
    model: NodeModel,
    data: PairDataset,
    job: str,
    batch_size: int,
    ablation: str = "counterfactual",
) -> Callable[[], Any]:
    """A job of the kind `job` on all of `data`, with arbitrary scores."""
    values = torch.arange(len(model.nodes), dtype=torch.float32, device="cpu")
    scores = NodeScores(model.nodes, values)
    if job in METHODS:
        return lambda: attribute(
            model, data, job, ig_steps=2, ablation=ablation, batch_size=batch_size, progress=False
        )
    if job == "evaluate":
        return lambda: evaluate(
            model, data, scores, ks=(0, 0.5), ablation=ablation, batch_size=batch_size,
            progress=False,
        )  # fmt: skip
    config = AlignmentConfig(steps=2, batch_size=batch_size)

    def train() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AlignmentWarning)
            align({"any": scores}, model, {"any": data}, config, progress=False)

    return train


@checked_arguments
def estimate_memory(
    model: NodeModel,
    data: PairDataset,
    job: str,
    *,
    ablation: str = "counterfactual",
    batch_size: int = 16,
) -> int:
    """Peak memory of a job on top of the weights, in bytes.

    Args:
        model: The model; it is run on one and two pairs.
        data: The pairs of the job.
        job: An attribution method, `evaluate`, or `align`.
        ablation: What ablated nodes become, for attribution and `evaluate`.
        batch_size: Pairs per run.

    Raises:
        ConfigError: an unknown job or ablation, or a batch size that is not a whole number from 1.
        DataError: pairs that cannot be used with this model's tokenizer.
    """
    check_choice("job", job, (*METHODS, *OTHER_JOBS))
    batch_size = whole_number("batch_size", batch_size, 1)
    pairs = data.tokenize(model)
    longest = int(pairs.lengths.argmax())
    earliest = pairs.select(range(len(pairs)), "cpu").n_shared

    def peak(rows: int, batch: int) -> int:
        few = pairs.rows([longest] * rows)
        # It shares no more than the pair that shares the least: a run takes memory for the rest.
        few.corrupt[:, earliest] = (few.clean[:, earliest] + 1) % model.vocabulary_size
        probe = PairDataset((), name=pairs.name, tokens=few)
        return peak_of(run_job(model, probe, job, batch, ablation), model.device)

    peak(1, 1)  # so that one-time allocations (kernels, tables of positions) are not counted
    one, two = peak(1, 1), peak(2, 2)
    kept = max(0, peak(2, 1) - one) if job == "align" else 0
    batch = min(batch_size, len(pairs))
    return one + (two - one - kept) * (batch - 1) + kept * (len(pairs) - 1)
