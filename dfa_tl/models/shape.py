"""`model_shape`: a model's size, read from its settings without loading its weights."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from transformers import AutoConfig

from dfa_tl.io.model_names import SHORT_NAMES
from dfa_tl.models.folder import local_model
from dfa_tl.models.gguf import GGUFFile
from dfa_tl.nodes import NodeSet


class ModelShape(NamedTuple):
    """The size of a model.

    Attributes:
        nodes: Its nodes.
        work: What a pass of one token costs, relative to other models: the parameters of the
            blocks of a plain decoder, 12 n_layers d_model^2.
    """

    nodes: NodeSet
    work: float


@lru_cache
def model_shape(name: str, revision: str | None = None) -> ModelShape:
    """The size of the model that `load_model` loads by this name.

    Raises:
        OSError, ValueError: Transformers cannot read its settings.
    """
    local = local_model(name)
    if local is not None and local.is_file():
        found: Any = GGUFFile(local).config()
    else:
        found = AutoConfig.from_pretrained(local or SHORT_NAMES.get(name, name), revision=revision)
    found = found.get_text_config()
    nodes = NodeSet(found.num_hidden_layers, found.num_attention_heads)
    return ModelShape(nodes, 12.0 * nodes.n_layers * found.hidden_size**2)
