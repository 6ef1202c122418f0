"""What identifies a model of a study: a hash of its weights, settings and tokenizer.

bundled name, folder   sha256 over the names and contents of its files
hub name               the commit in the local cache, or else the newest one on the hub
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache

from dfa_tl.errors import ModelError
from dfa_tl.io.model_names import SHORT_NAMES
from dfa_tl.models.folder import local_folder

SUFFIXES = {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"}
BLOCK = 2**24


def model_hashes(names: Iterable[str]) -> dict[str, str]:
    """The hash of each model.

    Raises:
        ModelError: no such model, or a hub name that is neither cached nor reachable.
    """
    return {name: _hash_of(name) for name in dict.fromkeys(names)}


def _hash_of(name: str) -> str:
    if (folder := local_folder(name)) is not None:
        return _folder_hash(folder)
    name = SHORT_NAMES.get(name, name)
    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str):
        return f"commit {Path(cached).parent.name}"
    try:
        return f"commit {HfApi().model_info(name).sha}"
    except Exception as error:
        raise ModelError(
            f"{name!r} is neither a folder nor in the hub's local cache, and the hub does not "
            f"answer ({type(error).__name__}); fetch it once with load_model({name!r})"
        ) from error


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in SUFFIXES:
            inner = hashlib.sha256()
            with file.open("rb") as content:
                while block := content.read(BLOCK):
                    inner.update(block)
            digest.update(f"{file.name} {inner.hexdigest()}\n".encode())
    return f"sha256 {digest.hexdigest()}"
