"""`load_model`: a bundled model, a local folder or GGUF file, a hub name, or a live model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources.transformers import (
    determine_architecture_from_hf_config,
    get_hf_model_class_for_architecture,
)
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from dfa_tl.arguments import checked_arguments
from dfa_tl.display import first_line
from dfa_tl.errors import ConfigError, DFAError, FileFormatError, HubError, ModelError
from dfa_tl.io.model_names import SHORT_NAMES
from dfa_tl.models.folder import (
    BUNDLED,
    check_bundled_files,
    check_folder,
    hub_folder,
    local_model,
    unknown_model,
)
from dfa_tl.models.gguf import FIX_HINT, GGUFFile
from dfa_tl.models.hugging_face import check_logits, plain_model
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.placement import DeviceMap, Placement
from dfa_tl.models.tokenizer import saved_tokenizer
from dfa_tl.models.weights import StrictWeightLoader, refuse_broken_weights
from dfa_tl.settings import check_switch

logger = logging.getLogger(__name__)


@checked_arguments(
    skip=(
        "model",
        "device",
        "dtype",
        "device_map",
    )
)
def load_model(
    model: str | Path | nn.Module | NodeModel,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: DeviceMap | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    offline: bool | None = None,
    prepend_bos: bool | None = None,
) -> NodeModel:
    """A model as nodes.

    Args:
        model: `toy-small` or `toy-large` (bundled, no network); a short name of
            `dfa_tl.io.model_names`, such as `llama3-1b`; a hub name, such as
            `meta-llama/Llama-3.2-1B`; a folder with a Hugging Face model and its tokenizer; a GGUF
            file (`model.gguf`), whose weights are dequantised; or a live `HookedTransformer` /
            `TransformerBridge`, which is wrapped as it is.
        device: Where to load it (default: a GPU when there is one, else the CPU).
        dtype: Precision of the weights, a floating-point type or its name (default float32). `auto`
            is bfloat16 on GPUs and CPUs that compute in it, and float32 elsewhere.
        device_map: Several devices instead of one, as Transformers takes it: `auto`, `balanced`,
            `sequential`, or a device for each of the model's modules.
        revision: Branch, tag or commit of a hub model.
        token: Access token for a gated or private hub model (default: the variable `HF_TOKEN`, or
            the login of `hf auth login`).
        offline: Load a hub model from the local cache only, without the network (default: as the
            variable `HF_HUB_OFFLINE` says).
        prepend_bos: Whether prompts begin with a BOS, for a live model too, which it leaves as it
            is. None: as the model does by default (Llama-3, Gemma-2 and GPT-2 with one, Pythia and
            Qwen-2.5 without), and with one for the benchmark's tasks. True: always; where the
            tokenizer has no BOS, the token that TransformerLens puts there, its EOS, as the
            benchmark does. False: never. See `NodeModel.prompt_tokens`.

    Raises:
        HubError: a hub model cannot be fetched: it is gated, does not exist, or is not in the cache
            while there is no network. The message says what to accept, set or download.
        ModelError: no such model, a folder without weights or tokenizer, weights that are missing
            or not finite, an architecture without heads and MLPs, a GGUF file that Transformers
            does not read completely; or options given for a live model.
        ConfigError: a dtype, device or device map that cannot be used here.
        FileFormatError: weights, settings or a tokenizer that are truncated or altered.

    Example:
        >>> model = load_model("toy-small")
        >>> len(model.nodes), model.nodes[0].name, model.nodes[-1].name
        (15, 'a0.h0', 'm2')
    """
    placement = Placement(dtype=dtype, device=device, device_map=device_map)
    if isinstance(model, (nn.Module, NodeModel)):
        given = (device, dtype, device_map, revision, token, offline)
        if any(option is not None for option in given):
            raise ModelError(
                "a live model is used as it is: move or cast it yourself before load_model, and "
                "give no options but prepend_bos"
            )
        if not isinstance(model, NodeModel):
            return NodeModel(model, prepend_bos=prepend_bos)
        return model if prepend_bos is None else with_prepend_bos(model, prepend_bos)
    if not isinstance(model, (str, Path)):
        raise ModelError(
            f"expected a model's name, a folder, a GGUF file, a HookedTransformer or a "
            f"TransformerBridge, got "
            f"{type(model).__name__}"
        )
    check_switch("prepend_bos", prepend_bos)
    loaded = _load(model, placement, revision=revision, token=token, offline=offline)
    return loaded if prepend_bos is None else with_prepend_bos(loaded, prepend_bos)


def with_prepend_bos(model: NodeModel, prepend_bos: bool) -> NodeModel:
    """The same model, with another answer to whether its prompts begin with a BOS."""
    return NodeModel(model.tl, model.name, prepend_bos=prepend_bos)


def _load(
    model: str | Path,
    placement: Placement,
    *,
    revision: str | None,
    token: str | bool | None,
    offline: bool | None,
) -> NodeModel:
    name, found = str(model), local_model(model)
    if found is not None and revision is not None:
        raise ConfigError(
            f"revision={revision!r}: {name} is not a hub model, so it has no revisions"
        )
    if name in BUNDLED and found is not None:
        check_bundled_files(found)
        return _from_folder(found, name, placement, "install dfa_tl again")
    if found is not None and found.is_file():
        return _from_gguf(GGUFFile(found), placement)
    if found is not None:
        fix_hint = "write it with save_pretrained of the model and of its tokenizer"
        return _from_folder(found, found.name, placement, fix_hint)
    hub_name = SHORT_NAMES.get(name, name)
    try:
        folder = hub_folder(hub_name, revision=revision, token=token, offline=offline)
    except HubError as error:
        if "/" in hub_name:
            raise
        raise HubError(f"{unknown_model(name)}; as a hub name: {error}") from error
    return _from_folder(folder, name, placement, f"fetch it whole with `hf download {hub_name}`")


def _from_folder(folder: Path, name: str, placement: Placement, fix_hint: str) -> NodeModel:
    check_folder(folder, fix_hint)
    try:
        config = AutoConfig.from_pretrained(folder)
    # Settings are checked by what reads them, with errors of its own.
    except Exception as error:
        raise _unsupported(name, error) from error
    architecture, model_class = _architecture(name, config)
    loader = StrictWeightLoader(model_class, fix_hint)
    try:
        tokenizer = saved_tokenizer(folder)
    # Transformers and tokenizers have no error of their own for a broken file.
    except Exception as error:
        raise FileFormatError(
            f"the tokenizer in {folder} cannot be read ({first_line(error)}); {fix_hint}"
        ) from error
    bridge = _bridge(
        folder,
        name,
        placement,
        fix_hint,
        model_class=loader,
        tokenizer=tokenizer,
        **placement.options(),
    )
    return _checked(bridge, name, architecture, fix_hint)


def _from_gguf(file: GGUFFile, placement: Placement) -> NodeModel:
    name, config = file.path.stem, file.config()
    architecture, model_class = _architecture(name, config)
    bridge = _bridge(
        file.path,
        name,
        placement,
        FIX_HINT,
        hf_model=file.model(config, model_class, placement),
        tokenizer=file.tokenizer(),
        dtype=placement.dtype,
        # A model that is spread says itself where it is.
        device=None if placement.device_map is not None else str(placement.devices[0]),
    )
    return _checked(bridge, name, architecture, FIX_HINT)


def _architecture(name: str, config: PreTrainedConfig) -> tuple[str, Any]:
    """The model's architecture, and the class that loads it."""
    try:
        architecture = determine_architecture_from_hf_config(config)
    except Exception as error:
        raise _unsupported(name, error) from error
    model_class = get_hf_model_class_for_architecture(architecture)
    # Transformers loads some models of text and images as causal ones too; their name shows it.
    if model_class is not AutoModelForCausalLM or architecture.endswith("ConditionalGeneration"):
        raise ModelError(
            f"{name!r} is not a text-only decoder but a {architecture}: expected a causal language "
            "model; if its text decoder is published separately, load that"
        )
    return architecture, model_class


def _unsupported(name: str, error: Exception) -> ModelError:
    return ModelError(
        f"the architecture or the settings of {name!r} are not supported by this version of "
        f"TransformerLens and Transformers ({first_line(error)})"
    )


def _bridge(
    path: Path, name: str, placement: Placement, fix_hint: str, **options: Any
) -> TransformerBridge:
    try:
        return TransformerBridge.boot_transformers(str(path), **options)
    except DFAError:
        raise
    except SafetensorError as error:
        raise FileFormatError(
            f"the weights in {path} cannot be read ({first_line(error)}); they may be truncated: "
            f"{fix_hint}"
        ) from error
    # Transformers, TransformerLens and Accelerate have no error of their own for a failed load.
    except Exception as error:
        where = "" if placement.device_map is None else f" with device_map={placement.device_map!r}"
        raise ModelError(f"{name!r} could not be loaded{where} ({first_line(error)})") from error


def _checked(bridge: TransformerBridge, name: str, architecture: str, fix_hint: str) -> NodeModel:
    """The loaded model as nodes, with finite weights and the logits of the plain model."""
    refuse_broken_weights(bridge, name, fix_hint)
    bridge.cfg.model_name = name
    model = NodeModel(bridge.eval(), name)
    # A TransformerBridge computes attention itself, and leaves out parts that it does not know.
    try:
        plain = plain_model(bridge)
    except ModelError as error:
        logger.warning("the logits of %s are not checked: %s", name, error)
        return model
    with torch.no_grad():
        check_logits(model, plain, f"Hugging Face's own {architecture}")
    return model
