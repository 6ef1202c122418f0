"""Checks on files that other programs wrote: they may hold anything, and no code is run."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dfa_tl.display import shown
from dfa_tl.errors import FileFormatError
from dfa_tl.io import atomic


def table(content: object, what: str) -> Mapping[str, Any]:
    """`content`, a dictionary. Raises `FileFormatError` for anything else."""
    if not isinstance(content, Mapping):
        raise FileFormatError(f"{what} must be a dictionary, got {type(content).__name__}")
    return content


def require(content: Mapping[str, Any], keys: Sequence[str], what: str) -> None:
    """Raise `FileFormatError` unless `content` has all `keys`."""
    missing = [key for key in keys if key not in content]
    if missing:
        has = ", ".join(map(shown, list(content)[:10])) or "nothing"
        raise FileFormatError(f"{what} lacks {', '.join(missing)}; it has {has}")


def load_torch_file(path: Path) -> object:
    """What `torch.save` wrote, if it holds only tensors, numbers, text, lists and dictionaries.

    Code in a file is refused, not run (`weights_only=True`).

    Raises:
        FileFormatError: the file holds anything else, is truncated, or is too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise FileFormatError(
            f"it is truncated, altered, or not by torch.save ({error})"
        ) from error
    if size > atomic.MAX_BYTES:
        raise FileFormatError(f"it holds {size:,} bytes; {atomic.MAX_BYTES:,} at most are read")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileFormatError(
            "it holds pickled objects or code, which are never run. Ask for the .json form, or for "
            "a .pt that holds only tensors, numbers and names"
        ) from error
    except Exception as error:  # what an altered file makes torch raise is not documented
        raise FileFormatError(f"it is truncated or altered ({error})") from error
