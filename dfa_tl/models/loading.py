"""`load_model`: a bundled model, a local folder, a hub name, or a model that is there already."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformer_lens.model_bridge import TransformerBridge

from dfa_tl.errors import FileFormatError, ModelError
from dfa_tl.models.wrapper import NodeModel

BUNDLED_FOLDER = Path(__file__).parent / "bundled"
BUNDLED = ("toy-small", "toy-large")


def load_model(
    model: str | Path | nn.Module,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> NodeModel:
    """A model as nodes.

    Args:
        model: `toy-small` or `toy-large` (bundled, no network); a folder with a Hugging Face model
            and its tokenizer; a hub name; or a live `HookedTransformer` / `TransformerBridge`,
            which is wrapped as it is.
        device: Where to load it (default: a GPU when there is one, else the CPU).
        dtype: Precision of the weights (default float32).

    Raises:
        ModelError: no such model, or one whose nodes cannot be patched; or `device` / `dtype`
            given for a live model.
        FileFormatError: weights that are truncated or altered.
    """
    if isinstance(model, nn.Module):
        if device is not None or dtype is not None:
            raise ModelError(
                "a live model is used as it is: move or cast it yourself before load_model"
            )
        return NodeModel(model)
    name = str(model)
    if name in BUNDLED:
        folder = BUNDLED_FOLDER / name
        _check_hashes(folder)
        return _from_folder(folder, name, device, dtype)
    folder = Path(name)
    if folder.is_dir():
        return _from_folder(folder, folder.name, device, dtype)
    if isinstance(model, Path) or name.startswith(("toy-", ".", "/", "~")):
        raise ModelError(
            f"no model {name!r}: expected a folder, a hub name, or one of the bundled "
            f"{', '.join(BUNDLED)}"
        )
    return _boot(name, name, device, dtype)


def _from_folder(
    folder: Path, name: str, device: str | torch.device | None, dtype: torch.dtype | None
) -> NodeModel:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no Hugging Face model: there is no config.json in it")
    return _boot(str(folder), name, device, dtype)


def _boot(
    path: str, name: str, device: str | torch.device | None, dtype: torch.dtype | None
) -> NodeModel:
    options: dict[str, Any] = {} if device is None else {"device": str(device)}
    try:
        bridge = TransformerBridge.boot_transformers(path, dtype=dtype or torch.float32, **options)
    except Exception as error:
        reason = str(error).strip().splitlines()
        first = f"{type(error).__name__}: {reason[0] if reason else ''}"
        if "safetensors" in first.lower() or "header" in first.lower():
            raise FileFormatError(
                f"the weights in {path} cannot be read ({first}); they may be truncated, fetch "
                "or save them again"
            ) from error
        raise ModelError(
            f"{name!r} could not be loaded ({first}). Expected one of the bundled "
            f"{', '.join(BUNDLED)}, a folder, or a hub name that TransformerLens supports; a hub "
            "name needs the network or a filled cache, and access if the model is gated"
        ) from error
    return NodeModel(bridge.eval(), name)


def _check_hashes(folder: Path) -> None:
    """Raise `FileFormatError` unless the bundled files are those that were shipped."""
    expected = json.loads((folder / "sha256.json").read_text())
    for file_name, digest in expected.items():
        file = folder / file_name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise FileFormatError(f"{file} is missing, truncated or altered; install dfa_tl again")
