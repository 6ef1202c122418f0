"""When memory runs out, halve the batch and go on; results do not change.

Work on a batch must have no side effects until it returns. The size that fitted is kept for the
batches that follow, and a warning is logged once.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from dfa_tl.errors import OutOfMemoryError
from dfa_tl.tasks.batches import PairBatch

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device, or the host, has no memory left."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    # The CPU and MPS allocators raise plain RuntimeErrors.
    message = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in message or "can't allocate memory" in message
    )


class Halving:
    """Splits batches into parts that fit."""

    def __init__(self) -> None:
        self.limit: int | None = None

    def __call__(
        self, batch: PairBatch, work: Callable[[PairBatch], Result]
    ) -> Iterator[tuple[PairBatch, Result]]:
        """Each part of the batch with the work's result on it.

        Raises:
            OutOfMemoryError: a single pair does not fit.
        """
        start = 0
        while start < len(batch):
            size = min(self.limit or len(batch), len(batch) - start)
            part = batch if size == len(batch) else batch.part(start, start + size)
            result = None
            # Not retried inside the except block: the traceback holds the failed run's tensors.
            failure: str | None = None
            try:
                result = work(part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = str(error)
            if failure is None:
                yield part, result  # type: ignore[misc]
                start += size
                continue
            self._halve(size, failure)

    def _halve(self, size: int, failure: str) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if size == 1:
            raise OutOfMemoryError(
                f"not even one pair fits in memory ({failure.splitlines()[0]}); use shorter "
                "prompts, a smaller dtype, or a model spread over several devices"
            )
        if self.limit is None:
            logger.warning(
                "out of memory with %d pairs a batch; going on with half as many (results do not "
                "change)",
                size,
            )
        self.limit = size // 2
