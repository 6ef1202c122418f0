"""The files of a model: found by name or fetched from the hub, and checked for missing ones."""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download

from dfa_tl.errors import FileFormatError, ModelError
from dfa_tl.io.atomic import user_path
from dfa_tl.io.hub_errors import explained
from dfa_tl.io.model_names import NOT_LOADED, SHORT_NAMES

BUNDLED_FOLDER = Path(__file__).parent / "bundled"
BUNDLED = ("toy-small", "toy-large")
# Settings and tokenizers; not the copies of the weights for other frameworks, nor those in folders.
FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
LEFT_OUT = ["*/*", "consolidated*"]
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


def local_model(model: str | Path) -> Path | None:
    """The folder or GGUF file of a bundled or local model; None for a model on the hub.

    Raises:
        ModelError: there is nothing at the path, no bundled model of the name, or the name is that
            of a benchmark model that cannot be loaded.
    """
    name = str(model)
    if name in BUNDLED:
        return BUNDLED_FOLDER / name
    # A folder that has the name of a model, but holds none, does not hide the model.
    # Absolute: TransformerLens takes some relative paths, such as gpt2-small, for its own names.
    path = user_path(name).absolute()
    is_path = isinstance(model, Path) or name.startswith((".", "/", "~"))
    if (path / "config.json").is_file() or (path.is_dir() and (is_path or name not in SHORT_NAMES)):
        return path
    is_gguf = path.suffix.lower() == ".gguf"
    if (is_gguf or is_path) and path.is_file():
        return path
    if name in NOT_LOADED:
        raise ModelError(f"{name!r} cannot be loaded: {NOT_LOADED[name]}")
    if is_gguf:
        raise ModelError(
            f"there is no file {path}; a GGUF file on the hub is fetched first, with "
            "`hf download organisation/model file.gguf --local-dir .`"
        )
    if is_path or name.startswith("toy-"):
        raise ModelError(unknown_model(name))
    return None


def unknown_model(name: str) -> str:
    """The message for a name that no model has, with the names most like it."""
    known = [*BUNDLED, *SHORT_NAMES]
    alike = [each for each in known if each.split("-")[0] == name.split("-")[0]]
    near = ", ".join(alike or difflib.get_close_matches(name, known))
    return (
        f"no model {name!r}{f' (did you mean {near}?)' if near else ''}: expected a folder, "
        f"a GGUF file, a hub name (organisation/model), {', '.join(BUNDLED)}, or a "
        "short name such as llama3-1b"
    )


def hub_folder(
    name: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    offline: bool | None = None,
) -> Path:
    """The folder in the local cache of a hub model's settings, tokenizer and weights.

    What is missing from the cache is fetched.

    Args:
        name: `organisation/model`.
        revision: Branch, tag or commit (default: the main branch).
        token: Access token (default: that of `HF_TOKEN` or of `hf auth login`).
        offline: Use only the cache, never the network (default: as the variable `HF_HUB_OFFLINE`
            says).

    Raises:
        HubError: the model cannot be fetched; the message says what to do.
    """
    only_cache = bool(constants.HF_HUB_OFFLINE) if offline is None else offline

    def fetch(weights: str) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                token=token,
                local_files_only=only_cache,
                allow_patterns=[*FILES, weights],
                ignore_patterns=LEFT_OUT,
            )
        )

    with explained(name, "read", revision=revision, token=token, offline=only_cache):
        folder = fetch("*.safetensors")
        if not only_cache and not any(folder.glob("*.safetensors")):
            folder = fetch("pytorch_model*.bin")
        return folder


def check_folder(folder: Path, fix_hint: str) -> None:
    """Raise an error that names what a model's folder lacks.

    Args:
        folder: The folder.
        fix_hint: How to get what is missing, for the message.

    Raises:
        ModelError: config.json, the weights, one of their shards, or the tokenizer is missing.
        FileFormatError: config.json or an index of shards is not valid JSON.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no Hugging Face model: it has no config.json; {fix_hint}")
    _read_object(folder / "config.json", fix_hint)
    missing = [
        shard
        for index in INDEXES
        if (folder / index).is_file()
        for shard in sorted(
            set(_read_object(folder / index, fix_hint).get("weight_map", {}).values())
        )
        if not (folder / shard).is_file()
    ]
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of its weight files ({missing[0]}); {fix_hint}"
        )
    for what, patterns, examples in (
        ("weights", WEIGHTS, "model.safetensors, or shards with an index"),
        ("tokenizer", TOKENIZERS, "tokenizer.json, tokenizer.model or vocab.json"),
    ):
        if not any(any(folder.glob(pattern)) for pattern in patterns):
            raise ModelError(f"{folder} holds no {what} ({examples}); {fix_hint}")


def check_bundled_files(folder: Path) -> None:
    """Raise `FileFormatError` unless the files of a bundled model are those that were shipped."""
    expected = json.loads((folder / "sha256.json").read_text())
    for file_name, digest in expected.items():
        file = folder / file_name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise FileFormatError(f"{file} is missing, truncated or altered; install dfa_tl again")


def _read_object(file: Path, fix_hint: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileFormatError(f"{file} is not valid JSON ({error}); {fix_hint}") from error
    if not isinstance(content, dict):
        raise FileFormatError(f"{file} holds a {type(content).__name__}, not an object; {fix_hint}")
    return content
