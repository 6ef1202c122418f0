"""A planted pair: a target whose right alignment with its source is known.

`widen` adds heads and layers to a Llama model without changing what it computes. In the wider model
a node is either the copy of one source node, or idle:

- a layer's heads are copied to random places among its heads, and the other heads there are idle:
  either their value projection or their output projection is zero;
- layers are copied in their order, at random depths; the layers in between are idle: all their
  heads are, and their MLP's down projection is zero.

Whatever else idle nodes have is random, with mean and standard deviation of the source's weights of
the same kind. Grouped key and value heads are repeated, so that each head has its own and can be
copied alone.

The residual stream of the wider model is the source's, so a copy has its source node's score under
every attribution method, and an idle node has 0. The right W is therefore `links`: 1 from a node to
its copy and 0 elsewhere. With it, `transfer` of raw scores gives the gold scores of any task.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from accelerate import init_empty_weights
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedModel

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError, ModelError
from dfa_tl.nodes import NodeSet
from dfa_tl.settings import check_seed, whole_number

Weights = dict[str, Tensor]
LAYERS = "model.layers."


class PlantedTarget(NamedTuple):
    """A wider model that computes the same, and where its source's nodes are in it.

    Attributes:
        model: The wider model, in eval mode.
        links: Whether target node j is the copy of source node i.
    """

    model: LlamaForCausalLM
    links: Bool[Tensor, "source target"]


@checked_arguments
@torch.no_grad()
def widen(model: PreTrainedModel, *, heads: int, layers: int, seed: int = 0) -> PlantedTarget:
    """A model with more heads and layers, and the logits of the given one.

    Args:
        model: A Llama model of Transformers; it is not changed.
        heads: Heads per layer; at least as many as the model has, and a divisor of its width, which
            Transformers requires.
        layers: Layers; at least as many as the model has.
        seed: Seed of the places of the copies, and of the idle nodes' weights.

    Raises:
        ModelError: another architecture than Llama.
        ConfigError: fewer heads or layers than the model has, or a number of heads that does not
            divide its width.

    Saved next to the source's tokenizer, it is loaded as any other model:

        source = AutoModelForCausalLM.from_pretrained(folder)
        wide, links = widen(source, heads=8, layers=6)
        wide.save_pretrained("wide")
        AutoTokenizer.from_pretrained(folder).save_pretrained("wide")
        target = load_model("./wide")
    """
    if not isinstance(model, LlamaForCausalLM):
        raise ModelError(
            f"widen takes a LlamaForCausalLM of Transformers, got a {type(model).__name__}"
        )
    config = copy.deepcopy(model.config)
    heads = whole_number("heads", heads, config.num_attention_heads)
    layers = whole_number("layers", layers, config.num_hidden_layers)
    if config.hidden_size % heads:
        raise ConfigError(
            f"heads={heads}: Transformers needs a divisor of the model's width, which is "
            f"{config.hidden_size}"
        )
    check_seed("seed", seed)
    generator = torch.Generator().manual_seed(seed)
    source = NodeSet(config.num_hidden_layers, config.num_attention_heads)
    target = NodeSet(layers, heads)
    links = torch.zeros(len(source), len(target), dtype=torch.bool)
    whole = model.state_dict()
    head_dim = len(whole[f"{LAYERS}0.self_attn.q_proj.weight"]) // source.n_heads
    weights = {name: value for name, value in whole.items() if not name.startswith(LAYERS)}
    copied = _places(layers, source.n_layers, generator).sort().values.tolist()
    for layer in range(layers):
        is_copy = layer in copied
        # An idle layer has the shapes of any source layer, and the statistics of this one.
        origin = copied.index(layer) if is_copy else layer * source.n_layers // layers
        places = _places(heads, source.n_heads if is_copy else 0, generator)
        prefix = f"{LAYERS}{origin}."
        given = {name[len(prefix) :]: whole[name] for name in whole if name.startswith(prefix)}
        wide = _wider_attention(given, head_dim, heads, places, generator)
        wide |= _rest(given, is_copy, generator)
        weights |= {f"{LAYERS}{layer}.{name}": value for name, value in wide.items()}
        if is_copy:
            first, there = origin * (source.n_heads + 1), layer * (heads + 1)
            links[first + torch.arange(source.n_heads), there + places] = True
            links[first + source.n_heads, there + heads] = True
    config.num_hidden_layers, config.num_attention_heads = layers, heads
    config.num_key_value_heads, config.head_dim = heads, head_dim
    with init_empty_weights(include_buffers=False):
        wider = LlamaForCausalLM(config)
    wider.load_state_dict({name: value.clone() for name, value in weights.items()}, assign=True)
    wider.tie_weights()
    nn.Module.to(wider, model.device)  # the buffers
    return PlantedTarget(wider.eval(), links)


def _places(n: int, chosen: int, generator: torch.Generator) -> Int[Tensor, " place"]:
    """Different numbers below n, in a random order."""
    return torch.randperm(n, generator=generator)[:chosen]


def _wider_attention(
    given: Weights,
    head_dim: int,
    heads: int,
    places: Int[Tensor, " place"],
    generator: torch.Generator,
) -> Weights:
    """A layer's projections for `heads` heads: the given heads at `places`, the others idle."""
    query_heads = len(given["self_attn.q_proj.weight"]) // head_dim
    idle = [head for head in range(heads) if head not in places.tolist()]
    silenced = torch.rand(len(idle), generator=generator) < 0.5
    no_value = [head for head, value in zip(idle, silenced.tolist(), strict=True) if value]
    no_output = [head for head in idle if head not in no_value]
    wide: Weights = {}
    for letter, silent in (("q", []), ("k", []), ("v", no_value), ("o", no_output)):
        for kind in ("weight", "bias"):
            name = f"self_attn.{letter}_proj.{kind}"
            if name not in given:
                continue
            if name == "self_attn.o_proj.bias":  # of no head
                wide[name] = given[name] if len(places) else torch.zeros_like(given[name])
                continue
            # The output projection has the heads in its columns.
            rows = given[name].T if letter == "o" else given[name]
            by_head = rows.unflatten(0, (-1, head_dim))
            by_head = by_head.repeat_interleave(query_heads // len(by_head), 0)
            wider = _noise(rows, (heads, *by_head.shape[1:]), generator)
            wider[places] = by_head[: len(places)]
            wider[silent] = 0
            wide[name] = wider.flatten(0, 1).T if letter == "o" else wider.flatten(0, 1)
    return wide


def _rest(given: Weights, is_copy: bool, generator: torch.Generator) -> Weights:
    """A layer's MLP and norms: the given ones, or those of an idle layer."""
    rest = {name: value for name, value in given.items() if not name.startswith("self_attn.")}
    if is_copy:
        return rest
    return {
        name: torch.zeros_like(value)
        if name.startswith("mlp.down_proj.")
        else _noise(value, value.shape, generator)
        for name, value in rest.items()
    }


def _noise(like: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Normal numbers with mean and standard deviation of `like`."""
    drawn = torch.randn(shape, generator=generator, dtype=torch.float32)
    values = like.float()
    return (values.mean() + values.std() * drawn.to(like.device)).to(like.dtype)
