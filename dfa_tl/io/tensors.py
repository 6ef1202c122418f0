"""Files of the package: tensors and their JSON metadata in one safetensors file, checked on load.

Nothing is pickled. Sizes are checked before anything is read into memory: a file may come from
anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dfa_tl.display import shown
from dfa_tl.errors import FileFormatError, FileWriteError
from dfa_tl.io import atomic
from dfa_tl.io.strict_json import json_bytes, parse_json
from dfa_tl.nodes import NodeSet

VERSION = 1
MAX_HEADER_BYTES = 2**24
"""Largest safetensors header that is read; it is parsed as JSON before any tensor."""
MAX_NODES = 1_000_000
"""Most nodes in a file, about two hundred times those of the largest models."""


def whole(value: object, name: str) -> int:
    """`value`, a whole number from 1. Raises `FileFormatError` for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise FileFormatError(f"{name} must be a whole number from 1, got {shown(value)}")
    return value


def node_set(n_layers: object, n_heads: object) -> NodeSet:
    """The nodes that a file describes.

    Raises:
        FileFormatError: the values are not whole numbers from 1, or no model has so many nodes.
    """
    layers, heads = whole(n_layers, "n_layers"), whole(n_heads, "n_heads")
    if layers * (heads + 1) > MAX_NODES:
        raise FileFormatError(
            f"{shown(layers)} layers of {shown(heads)} heads: more than {MAX_NODES:,} nodes, which "
            "no model has"
        )
    return NodeSet(layers, heads)


def save_tensors(
    path: str | Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON-able metadata as a file of the given `kind`.

    Raises:
        FileFormatError: the metadata cannot be written as JSON.
        FileWriteError: the file cannot be written; an old file is unchanged.
    """
    header = {
        "format": f"dfa_tl/{kind}/{VERSION}",
        "metadata": json_bytes(dict(metadata), f"the metadata of {path}").decode(),
    }
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, header)
    if len(content) > atomic.MAX_BYTES or int.from_bytes(content[:8], "little") > MAX_HEADER_BYTES:
        raise FileWriteError(
            f"{path} was not written: it would have {len(content):,} bytes and could not be read "
            f"again (at most {atomic.MAX_BYTES:,}, and {MAX_HEADER_BYTES:,} for metadata)"
        )
    atomic.write_file(path, content)


def load_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Returns:
        The tensors by name, and the metadata.

    Raises:
        FileFormatError: the file does not exist, is too large, truncated or altered, or of another
            kind or version.
    """
    path = atomic.readable(path, f"a dfa_tl {kind} file")
    try:
        _check_header_size(path)
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check_format(path, header.get("format"), kind)
            metadata = parse_json(header.get("metadata", "null"), f"the metadata of {path}")
            if not isinstance(metadata, dict):
                raise FileFormatError(f"{path} has no metadata; write it again")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileFormatError(
            f"{path} cannot be read as safetensors ({error}); it may be truncated or altered, "
            "write it again"
        ) from error
    return tensors, metadata


def _check_header_size(path: Path) -> None:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    # A size beyond the file's end is safetensors' own to report.
    if MAX_HEADER_BYTES < size <= path.stat().st_size:
        raise FileFormatError(
            f"{path} has a header of {size:,} bytes, and at most {MAX_HEADER_BYTES:,} are read; "
            "it was not written by dfa_tl, or was altered"
        )


def _check_format(path: Path, found: str | None, kind: str) -> None:
    if found == f"dfa_tl/{kind}/{VERSION}":
        return
    package, _, rest = (found or "").partition("/")
    its_kind, _, version = rest.partition("/")
    if package != "dfa_tl":
        raise FileFormatError(
            f"{path} is not a dfa_tl {kind} file: its header says {shown(found or 'nothing')}"
        )
    if its_kind != kind:
        raise FileFormatError(
            f"{path} is not a dfa_tl {kind} file but one of kind {shown(its_kind)}; read it with "
            "the class that wrote it"
        )
    raise FileFormatError(
        f"{path} has version {shown(version)} of the {kind} format; this dfa_tl reads version "
        f"{VERSION}: update dfa_tl, or write the file again with this one"
    )
