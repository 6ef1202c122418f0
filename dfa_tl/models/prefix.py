"""Keys and values of the first positions of a batch, so that a run may start after them.

A `TransformerBridge` takes them in the cache of Hugging Face, a `HookedTransformer` in one of its
own; here is all that knows of either. Memory: keys and values of the prefix in all layers, and
a copy of them while a run uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from dfa_tl.tasks.batches import repeat_rows

Layer = tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]
"""Keys and values of a layer, in the shape that the model has them."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """What a run needs to know of the positions before it.

    Attributes:
        tokens: The tokens at these positions.
        layers: Keys and values of each layer.
        devices: Where each layer needs them.
    """

    tokens: Int[Tensor, "batch pos"]
    layers: tuple[Layer, ...]
    devices: tuple[torch.device, ...]

    @classmethod
    def from_cache(cls, cache: Any, tokens: Int[Tensor, "batch pos"]) -> Prefix:
        """What a run over these tokens left in a cache."""
        layers: tuple[Any, ...]
        if isinstance(cache, DynamicCache):
            layers = tuple((layer.keys, layer.values) for layer in cast("Any", cache.layers))
        else:
            layers = tuple((entry.past_keys, entry.past_values) for entry in cache.entries)
        return cls(tokens, layers, tuple(keys.device for keys, _ in layers))

    @property
    def length(self) -> int:
        """How many positions."""
        return self.tokens.shape[1]

    def begins(self, prompts: Int[Tensor, "batch pos"]) -> bool:
        """Whether prompts are longer than the prefix and begin with its rows, or copies of them."""
        copies, rest = divmod(len(prompts), len(self.tokens))
        if rest or prompts.shape[1] <= self.length:
            return False
        expected = repeat_rows(self.tokens.to(prompts.device), copies)
        return torch.equal(prompts[:, : self.length], expected)

    def each(self, change: Callable[[Tensor], Tensor]) -> Prefix:
        """The same with every tensor changed, such as to some of its rows."""
        layers = tuple((change(k), change(v)) for k, v in self.layers)
        return replace(self, tokens=change(self.tokens), layers=layers)

    def cache(self, tl: nn.Module, rows: int) -> Any:
        """A cache for a run of the prefix's rows, or of several copies of them."""
        copies = rows // len(self.layers[0][0])

        def placed(tensor: Tensor, device: torch.device) -> Tensor:
            return repeat_rows(tensor.to(device), copies) if copies > 1 else tensor.to(device)

        return new_cache(
            tl,
            rows,
            [
                (placed(keys, device), placed(values, device))
                for (keys, values), device in zip(self.layers, self.devices, strict=True)
            ],
        )

    @property
    def tensors(self) -> list[Tensor]:
        """All keys and values."""
        return [tensor for layer in self.layers for tensor in layer]


@dataclass
class PrefixSupport:
    """What is known of whether a model can be continued.

    Attributes:
        works: False once it could not.
        widest: Positions of the widest batch that was checked.
    """

    works: bool = True
    widest: int = 0


def new_cache(tl: nn.Module, rows: int, layers: Sequence[Layer] = ()) -> Any:
    """A cache that holds these layers; a run adds to it what it computes."""
    if hasattr(tl, "original_model"):
        # Layers with a sliding window keep all positions too: the attention mask has the window.
        return DynamicCache(layers)
    # TransformerLens 4 has none.
    from transformer_lens.cache.key_value_cache import (  # pyright: ignore[reportMissingImports]
        TransformerLensKeyValueCache,
    )

    cfg: Any = tl.cfg
    cache: Any = TransformerLensKeyValueCache.init_cache(cfg, cfg.device, rows)
    for entry, (keys, values) in zip(cache.entries, layers, strict=False):
        entry.past_keys, entry.past_values = keys, values
        cache.previous_attention_mask = torch.ones(keys.shape[:2], device=cfg.device).long()
    return cache


def cache_option(cache: Any, mask: Bool[Tensor, "batch pos"]) -> dict[str, Any]:
    """A cache as an option of a run; `mask` is True at the real positions of that run."""
    if isinstance(cache, DynamicCache):
        return {"past_key_values": cache}
    return {"past_kv_cache": cache, "attention_mask": mask.long()}
