"""Runs that compute no more than is needed.

Only the last real position of each row is unembedded, which saves most of the memory of a large
vocabulary. A run may start at any layer from the residual stream that enters it; the layers below
are then skipped. It may also start at any position, after a prefix whose keys and values are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dfa_tl.errors import ModelError
from dfa_tl.models.prefix import Prefix, PrefixSupport, cache_option, new_cache
from dfa_tl.models.state import added_hooks


@dataclass(frozen=True, eq=False)
class Resume:
    """Where a run starts that does not start at the embedding.

    Attributes:
        layer: The first layer that runs.
        residual: The residual stream entering it, `batch pos d_model`.
    """

    layer: int
    residual: Float[Tensor, "batch pos d_model"]


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


class PartialRun:
    """Runs of one model up to the logits at the last real positions.

    Attributes:
        block_output: What the model's loop over blocks expects of a block: a `tensor`, a `tuple` of
            one, or `other`; None before the first run from the embedding.
        prefix: What runs start after; see `continued`.
        prefix_support: What is known of whether they can.
    """

    def __init__(self, tl: Any, name: str) -> None:
        self.tl, self.name = tl, name
        self.block_output: str | None = None
        self.prefix: Prefix | None = None
        self.prefix_support = PrefixSupport()

    def last_logits(
        self,
        tokens: Int[Tensor, "batch pos"],
        mask: Bool[Tensor, "batch pos"],
        last: Int[Tensor, " batch"],
        resume: Resume | None,
    ) -> Float[Tensor, "batch vocab"]:
        """Logits at position `last` of each row; see `NodeModel.last_logits`."""
        options = mask_option(self.tl, mask)
        if self.prefix is not None and self.prefix.begins(tokens):
            start = self.prefix.length
            tokens, mask, last = tokens[:, start:], mask[:, start:], last - start
            options = cache_option(self.prefix.cache(self.tl, len(tokens)), mask)
        return self._last_logits(tokens, last, resume, options)

    def prefix_of(self, tokens: Int[Tensor, "batch pos"]) -> Prefix:
        """Keys and values of these tokens, all of them real."""
        cache = new_cache(self.tl, len(tokens))
        options = cache_option(cache, torch.ones_like(tokens, dtype=torch.bool))
        last = torch.full_like(tokens[:, 0], tokens.shape[1] - 1)
        self._last_logits(tokens, last, None, options)
        return Prefix.from_cache(cache, tokens)

    @contextmanager
    def continued(self, prefix: Prefix | None) -> Iterator[None]:
        """Inside, `last_logits` still takes whole prompts, but runs start after their prefix.

        Hooks see the later positions alone, and so does a residual stream that is resumed from.
        Prompts that do not begin with the prefix are run whole, and so are all with None.
        """
        before, self.prefix = self.prefix, prefix
        try:
            yield
        finally:
            self.prefix = before

    def _last_logits(
        self, tokens: Tensor, last: Tensor, resume: Resume | None, options: dict[str, Any]
    ) -> Tensor:
        with ExitStack() as stack:
            if resume is None or resume.layer == 0:
                stack.enter_context(self._block_output_noted())
            else:
                stack.enter_context(self._resumed(resume))
            stack.enter_context(self._only_unembedding(last))
            logits = self.tl(tokens, return_type="logits", **options)
        return logits[:, 0]

    @contextmanager
    def _only_unembedding(self, last: Tensor) -> Iterator[None]:
        def keep_last(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            residual, *rest = args
            rows = torch.arange(len(last), device=residual.device)
            return (residual[rows, last.to(residual.device)].unsqueeze(1), *rest)

        handle = self.tl.unembed.register_forward_pre_hook(keep_last)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def _resumed(self, resume: Resume) -> Iterator[None]:
        """Set the residual stream where `resume.layer` starts, and skip the blocks below.

        The residual was read after all other hooks, so it is set after them too: a user's hook that
        steers it is not applied a second time. Skipped blocks return it at once. Blocks that return
        more than the residual cannot be skipped, and run.
        """
        if self.block_output is None:
            raise ModelError(f"run {self.name} from the embedding once before resuming a run")
        point = self.tl.hook_dict[residual_site(resume.layer)]
        with ExitStack() as stack:
            stack.enter_context(added_hooks([(point, lambda activation, hook: resume.residual)]))
            if self.block_output != "other":
                output = (resume.residual,) if self.block_output == "tuple" else resume.residual
                for layer in range(resume.layer):
                    block = self.tl.blocks[layer]
                    stack.enter_context(_forward_replaced(block, lambda *_, **__: output))
            yield

    @contextmanager
    def _block_output_noted(self) -> Iterator[None]:
        if self.block_output is not None:
            yield
            return

        def note(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self.block_output = "tensor"
            elif isinstance(output, tuple) and len(output) == 1:
                self.block_output = "tuple"
            else:
                self.block_output = "other"

        handle = self.tl.blocks[0].register_forward_hook(note)
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def _forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    # Through __dict__: a forward that somebody set on the instance is put back as it was.
    own = module.__dict__
    before = own.get("forward")
    own["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            own.pop("forward", None)
        else:
            own["forward"] = before
