"""GGUF files: weights dequantised by Transformers, and the tokenizer that the file holds.

Transformers rebuilds the model's settings from the file, and passes over what it does not know. So
that no part of a model is lost in silence:

    numbers     the file must hold as many as the model has: no bias and no expert is left out
    RoPE        scaled frequencies are read from `rope_freqs` where they are Llama-3.1's, and
                refused otherwise

Transformers also reads tokenizers and adapters that lie beside the file. The tokenizer here is that
in the file, and an adapter beside it is refused.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from dfa_tl.display import first_line
from dfa_tl.errors import DFAError, FileFormatError, ModelError
from dfa_tl.models.placement import Placement
from dfa_tl.models.weights import StrictWeightLoader

SUFFIX = ".gguf"
FIX_HINT = "download or convert it again"
ROPE_FREQUENCIES = "rope_freqs.weight"
# Those of every Llama from 3.1 on; the factor is in the file.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


class GGUFFile:
    """A GGUF file, whole as far as its own table of contents says.

    Attributes:
        path: Where it is.
        architecture: As the file names it, such as `llama`.

    Raises:
        FileFormatError: the file is not GGUF, or is truncated or altered.
        ModelError: the package `gguf` is missing, the file is one of several parts, or an adapter
            lies beside it.
    """

    def __init__(self, path: Path) -> None:
        try:
            from gguf import GGUFReader
            from transformers import GgufConfig  # noqa: F401  (older versions have none)
        except ImportError as error:
            raise ModelError(
                f"{path.name} is a GGUF file, and reading it needs more packages "
                f'({first_line(error)}): pip install "dfa_tl[gguf]"'
            ) from error
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise FileFormatError(
                    f"{path} is not a GGUF file; expected one, or the folder of a model"
                )
        if (path.parent / "adapter_config.json").is_file():
            raise ModelError(
                f"an adapter lies beside {path}, and Transformers would apply it: move the GGUF "
                "file to a folder of its own"
            )
        self.path = path
        try:
            self._reader = GGUFReader(path)
            architecture = self._setting("general.architecture")
        # The reader follows whatever counts and offsets it finds.
        except Exception as error:
            raise FileFormatError(
                f"{path} is truncated or altered ({first_line(error)}); {FIX_HINT}"
            ) from error
        if not isinstance(architecture, str):
            raise FileFormatError(f"{path} does not say which architecture it holds; {FIX_HINT}")
        self.architecture = architecture
        if (parts := self._setting("split.count") or 1) > 1:
            raise ModelError(
                f"{path.name} is one of {parts} parts: merge them into one file, for instance with "
                "llama.cpp's llama-gguf-split --merge"
            )

    def config(self) -> PreTrainedConfig:
        """The model's settings.

        Raises:
            ModelError: Transformers does not know the architecture in GGUF files, or does not read
                the file's scaling of RoPE.
        """
        try:
            config = AutoConfig.from_pretrained(
                self.path.parent, gguf_file=str(self.path), output_attentions=True
            )
        # Transformers has no error of its own for what it does not support.
        except Exception as error:
            raise ModelError(
                f"{self.path.name} holds an architecture, {self.architecture!r}, that this version "
                f"of Transformers cannot dequantise ({first_line(error)}); load the original model "
                "from the hub or from a folder"
            ) from error
        # TransformerLens goes by the class, which the file does not name.
        model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
        if not config.architectures and model_class is not None:
            config.architectures = [model_class.__name__]
        frequencies = self._tensors().get(ROPE_FREQUENCIES)
        if frequencies is not None:
            return self._with_scaled_rope(config, torch.tensor(frequencies.data))
        kind = self._setting(f"{self.architecture}.rope.scaling.type")
        known = getattr(config, "rope_parameters", None) or {}
        if kind not in (None, "none") and known.get("rope_type", "default") == "default":
            raise self._rope_is_not_read(f"scaling of type {kind!r}")
        return config

    def _with_scaled_rope(self, config: PreTrainedConfig, divisors: Tensor) -> PreTrainedConfig:
        """The settings with which Transformers divides RoPE's frequencies by `divisors`."""
        if bool((divisors == 1).all()):
            return config
        if isinstance(config, LlamaConfig):
            scaled = copy.deepcopy(config)
            scaled.rope_parameters = {
                **(config.rope_parameters or {}),
                **LLAMA3_ROPE,
                "factor": float(divisors.max()),
            }
            found, unscaled = (LlamaRotaryEmbedding(each).inv_freq for each in (scaled, config))
            if divisors.shape == found.shape and torch.allclose(found * divisors, unscaled):
                return scaled
        raise self._rope_is_not_read(f"{ROPE_FREQUENCIES}, which are not those of a Llama 3")

    def _rope_is_not_read(self, what: str) -> ModelError:
        return ModelError(
            f"{self.path.name} scales RoPE's frequencies ({what}), and Transformers would load it "
            "without: load the original model from the hub or from a folder"
        )

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer in the file.

        Raises:
            FileFormatError: there is none, or Transformers does not know its kind.
        """
        try:
            tokenizer = PreTrainedTokenizerFast(
                gguf_file=str(self.path), name_or_path=str(self.path.parent)
            )
        # Transformers and tokenizers have no error of their own for a broken tokenizer.
        except Exception as error:
            raise FileFormatError(
                f"the tokenizer in {self.path} cannot be read ({first_line(error)}); {FIX_HINT}"
            ) from error
        # As TransformerLens expects; see dfa_tl.models.tokenizer.
        tokenizer.add_bos_token = tokenizer.bos_token is not None
        return tokenizer

    def model(
        self, config: PreTrainedConfig, model_class: Any, placement: Placement
    ) -> PreTrainedModel:
        """The plain model with dequantised weights, on its devices.

        Raises:
            ModelError: the model has weights that the file lacks, or the other way round.
            ConfigError: the device map does not fit the model's modules.
            FileFormatError: weights that cannot be dequantised.
        """
        from transformers import GgufConfig

        try:
            model: Any = StrictWeightLoader(model_class, FIX_HINT).from_pretrained(
                str(self.path.parent),
                gguf_file=str(self.path),
                config=config,
                dtype=placement.dtype,
                device_map=placement.device_map,
                attn_implementation="eager",
                quantization_config=GgufConfig(dequantize=True),
            )
        except DFAError:
            raise
        # A type of quantisation that is not known, or numbers that make no sense.
        except Exception as error:
            raise FileFormatError(
                f"the weights in {self.path} cannot be read ({first_line(error)}); {FIX_HINT}"
            ) from error
        self._check_complete(model)
        return model if placement.device_map is not None else model.to(placement.devices[0])

    def _check_complete(self, model: PreTrainedModel) -> None:
        separate = {ROPE_FREQUENCIES}
        if model.config.tie_word_embeddings:
            separate.add("output.weight")  # a copy of the embedding
        held = sum(
            int(tensor.n_elements)
            for name, tensor in self._tensors().items()
            if name not in separate
        )
        expected = sum(parameter.numel() for parameter in model.parameters())
        if held != expected:
            raise ModelError(
                f"{self.path.name} holds {held} weights, and {type(model).__name__} has "
                f"{expected}: Transformers does not read this kind of file completely; load the "
                "original model from the hub or from a folder"
            )

    def _tensors(self) -> dict[str, Any]:
        return {tensor.name: tensor for tensor in self._reader.tensors}

    def _setting(self, name: str) -> Any:
        field = self._reader.get_field(name)
        return None if field is None else field.contents()
