"""The short run of `dfa_tl.models.probe`: its tokens, what is set at each node, what is recorded.

Four rows of a few tokens:

    rows 0 and 1   run as they are; they differ in their last two tokens
    rows 2 and 3   have the tokens of row 0, but the z of a layer's heads is one vector at all
                   positions, and so is the output of its MLP: zero in row 2, v in row 3
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dfa_tl.errors import ModelError
from dfa_tl.models.partial_run import residual_site
from dfa_tl.models.state import added_hooks
from dfa_tl.nodes import NodeSet, head_site, mlp_site

POSITIONS = 6
HELD, MOVED = 2, 3
"""The rows whose nodes are constant: the MLPs write zero in one, v in the other."""
MOVE_SIZE = 1 / 16
"""Size of v, relative to the largest value of the stream that enters the layer."""


class ProbeRun:
    """The probe's tokens, and what a run on them showed, by layer.

    Attributes:
        tokens: Four rows of token ids.
        fired: How often each hook point fired.
        heads: What was set as z, one head after the other.
        projected: What the output projection of attention took in, where it is a module.
        moves: The vector v that the MLP wrote in row `MOVED`.
        entering, leaving: The residual stream before and after the layer.
        norms: Input and output of each norm of the layer, in the order in which they ran.
    """

    def __init__(self, tl: nn.Module, name: str, nodes: NodeSet) -> None:
        cfg: Any = tl.cfg
        embed: Any = tl.embed
        self.name, self.nodes, self.width = name, nodes, int(cfg.d_model)
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

    @contextmanager
    def recording(self, blocks: Any, points: Mapping[str, Any]) -> Iterator[None]:
        """Hold the nodes constant and record, in the run that is made inside."""
        layers = range(self.nodes.n_layers)
        with ExitStack() as stack:
            for layer in layers:
                stack.enter_context(self._recording_block(blocks[layer], layer))
            hooks = [hook for layer in layers for hook in self._hooks(layer, points)]
            stack.enter_context(added_hooks(hooks))
            yield

    def _hooks(
        self, layer: int, points: Mapping[str, Any]
    ) -> Iterator[tuple[Any, Callable[..., Tensor | None]]]:
        for site, act in (
            (residual_site(layer), self._record_stream),
            (head_site(layer), self._hold_heads),
            (mlp_site(layer), self._hold_mlp),
        ):
            yield points[site], self._checking_shape(site, layer, act)

    def _checking_shape(
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
                    f"{list(wanted)}: its nodes cannot be distinguished there"
                )
            return act(layer, activation)

        return run

    def _random_vector(self, like: Tensor, size: Tensor) -> Tensor:
        """A vector in the activation's shape, dtype and device."""
        return (size.cpu() * torch.randn(like.shape[2:], generator=self.random)).to(like)

    def _hold_heads(self, layer: int, z: Tensor) -> Tensor:
        z = z.clone()
        z[HELD:] = self._random_vector(z, z[:HELD].float().pow(2).mean().sqrt())
        self.heads[layer] = z.flatten(2).clone()
        return z

    def _hold_mlp(self, layer: int, written: Tensor) -> Tensor:
        # A pretrained model's stream has a few values hundreds of times larger than what one MLP
        # writes. The vector is sized by these, or half precision would round it away.
        largest = self.entering[layer][:HELD].float().abs().max()
        self.moves[layer] = self._random_vector(written, MOVE_SIZE * largest)
        written = written.clone()
        written[HELD], written[MOVED] = 0, self.moves[layer]
        return written

    def _record_stream(self, layer: int, stream: Tensor) -> None:
        self.entering[layer] = stream.clone()
        self.leaving[layer - 1] = self.entering[layer]

    @contextmanager
    def _recording_block(self, block: Any, layer: int) -> Iterator[None]:
        """Record what leaves a layer, and what its norms and its output projection take in."""

        def leaves(module: nn.Module, args: Any, output: Any) -> None:
            stream = output[0] if isinstance(output, (tuple, list)) else output
            self.leaving[layer] = stream.clone()

        def norms(module: nn.Module, args: Any, output: Tensor) -> None:
            # OPT's norms have rows and positions in one axis.
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
