"""What a folder must hold to be a model: settings, all of its weights, and a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dfa_tl.errors import FileFormatError, ModelError

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
)


def check_folder(folder: Path, fix_hint: str) -> None:
    """Raise an error that names what is missing.

    Args:
        folder: The folder.
        fix_hint: How to get what is missing, for the message.

    Raises:
        ModelError: no config.json, no weights, a missing shard of them, or no tokenizer.
        FileFormatError: a config.json or an index of shards that is no JSON.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} holds no Hugging Face model: there is no config.json in it; {fix_hint}"
        )
    _json(folder / "config.json", fix_hint)
    missing = [
        shard
        for index in INDEXES
        if (folder / index).is_file()
        for shard in sorted(set(_json(folder / index, fix_hint).get("weight_map", {}).values()))
        if not (folder / shard).is_file()
    ]
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of its weight files ({missing[0]}); {fix_hint}"
        )
    if not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        raise ModelError(
            f"{folder} holds no weights (model.safetensors, or shards with an index); {fix_hint}"
        )
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        raise ModelError(
            f"{folder} holds no tokenizer (tokenizer.json, tokenizer.model or vocab.json); {fix_hint}"
        )


def _json(file: Path, fix_hint: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileFormatError(f"{file} is no JSON ({error}); {fix_hint}") from error
    if not isinstance(content, dict):
        raise FileFormatError(f"{file} holds a {type(content).__name__}, not an object; {fix_hint}")
    return content
