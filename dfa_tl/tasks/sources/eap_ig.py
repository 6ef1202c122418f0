"""The batches that EAP-IG code works on: clean prompts, corrupted prompts, labels.

EAP-IG (https://github.com/hannamw/EAP-IG) and the Mechanistic Interpretability Benchmark loop over
`for clean, corrupted, labels in dataloader`: two lists of strings, and for each pair the token ids
`[correct, incorrect]`, as a tensor or as lists. `PairDataset.from_eap_ig` takes such a dataloader,
`PairDataset.to_eap_ig` makes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jaxtyping import Int
from torch import Tensor

from dfa_tl.errors import DataError
from dfa_tl.tasks.prompt_pair import PromptPair, token_id


class EapIgBatch(NamedTuple):
    """One batch.

    Attributes:
        clean: Prompts.
        corrupted: Their counterfactuals.
        labels: Token ids of the right and the wrong answer.
    """

    clean: list[str]
    corrupted: list[str]
    labels: Int[Tensor, "batch 2"]


def pairs_of_batches(batches: Iterable[Sequence[Any]]) -> tuple[PromptPair, ...]:
    """The pairs of a dataloader, in its order.

    Raises:
        DataError: a batch that is not of the form above.
    """
    pairs: list[PromptPair] = []
    for number, batch in enumerate(batches):
        try:
            clean, corrupted, labels = batch
            rows = labels.tolist() if isinstance(labels, Tensor) else list(labels)
            for prompts in (clean, corrupted):
                if isinstance(prompts, str) or not all(isinstance(text, str) for text in prompts):
                    raise TypeError("prompts must be lists of strings")
            for text, counterfactual, label in zip(clean, corrupted, rows, strict=True):
                right, wrong = map(token_id, label)
                pairs.append(PromptPair(text, counterfactual, right, wrong))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"batch {number} is not an EAP-IG batch ({error}): expected clean prompts, "
                "corrupted prompts, and one [correct, incorrect] pair of token ids for each"
            ) from error
    return tuple(pairs)
