"""Nodes: the attention heads and MLPs of a model, their names, order and hook points.

Nodes are ordered layer by layer, heads 0..H-1 and then the MLP, so a vector over the nodes is a
`(layer unit)` matrix with H + 1 units per layer, of which the last is the MLP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from dfa_tl.arguments import checked_arguments
from dfa_tl.display import shown
from dfa_tl.errors import ConfigError

EMBED_SITE = "hook_embed"
"""Hook point of the token embedding, shape `batch pos d_model`."""


@checked_arguments
@dataclass(frozen=True, order=True, repr=False)
class Node:
    """One attention head, or one MLP (`head` is None). It prints as its name: `a3.h1`, `m3`."""

    layer: int
    head: int | None = None

    @property
    def name(self) -> str:
        """`a{layer}.h{head}` or `m{layer}`."""
        return f"m{self.layer}" if self.head is None else f"a{self.layer}.h{self.head}"

    @property
    def is_head(self) -> bool:
        """Whether the node is an attention head."""
        return self.head is not None

    @classmethod
    @checked_arguments
    def parse(cls, name: str) -> Node:
        """The node called `name`. Raises `ConfigError` for anything but `a{l}.h{h}` or `m{l}`."""
        number = "(0|[1-9][0-9]{0,8})"
        if match := re.fullmatch(rf"a{number}\.h{number}", name):
            return cls(int(match[1]), int(match[2]))
        if match := re.fullmatch(f"m{number}", name):
            return cls(int(match[1]))
        raise ConfigError(
            f"{shown(name)} is not a node name: expected 'a3.h1' (a head) or 'm3' (an MLP)"
        )

    def __repr__(self) -> str:
        return self.name


@checked_arguments
@dataclass(frozen=True)
class NodeSet:
    """All nodes of a model with `n_layers` layers of `n_heads` heads and one MLP each."""

    n_layers: int
    n_heads: int

    def __post_init__(self) -> None:
        if self.n_layers < 1 or self.n_heads < 1:
            raise ConfigError(
                f"a node set needs at least one layer and one head, got {self.n_layers} layers "
                f"of {self.n_heads} heads"
            )

    def __len__(self) -> int:
        return self.n_layers * (self.n_heads + 1)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.all)

    @checked_arguments
    def __getitem__(self, position: int) -> Node:
        return self.all[position]

    @cached_property
    def all(self) -> tuple[Node, ...]:
        """Every node, in order."""
        units = (*range(self.n_heads), None)
        return tuple(Node(layer, unit) for layer in range(self.n_layers) for unit in units)

    @property
    def names(self) -> tuple[str, ...]:
        """Every node's name, in order."""
        return tuple(node.name for node in self.all)

    @checked_arguments
    def index(self, node: Node | str) -> int:
        """Position of a node. Raises `ConfigError` when the model has no such node."""
        found = Node.parse(node) if isinstance(node, str) else node
        if found not in self._positions:
            raise ConfigError(f"no node {found} among {self}")
        return self._positions[found]

    @cached_property
    def _positions(self) -> dict[Node, int]:
        return {node: position for position, node in enumerate(self.all)}

    def __str__(self) -> str:
        return f"{len(self)} nodes ({self.n_layers} layers of {self.n_heads} heads and an MLP)"


def head_site(layer: int) -> str:
    """Hook point of a layer's heads before the output projection: `batch pos head d_head`."""
    return f"blocks.{layer}.attn.hook_z"


def mlp_site(layer: int) -> str:
    """Hook point of a layer's MLP output: `batch pos d_model`."""
    return f"blocks.{layer}.hook_mlp_out"


def node_sites(nodes: NodeSet, start_layer: int = 0) -> list[str]:
    """The hook points of all nodes from `start_layer` on, in the order in which they fire."""
    return [
        site
        for layer in range(start_layer, nodes.n_layers)
        for site in (head_site(layer), mlp_site(layer))
    ]


def layer_shares(values: Float[Tensor, " node"], n_layers: int) -> Float[Tensor, " layer"]:
    """Each layer's share of the sum of `values`, none of them negative; NaN if all are 0."""
    sums = rearrange(values, "(layer unit) -> layer unit", layer=n_layers).sum(1)
    return sums / sums.sum()
