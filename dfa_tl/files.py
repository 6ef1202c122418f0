"""Files of the package: tensors and their JSON metadata in one safetensors file, checked on load.

Nothing is pickled. A file is written aside and renamed, so a reader never sees half of one. Sizes
are checked before anything is read into memory: a file may come from anywhere.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dfa_tl.display import shown
from dfa_tl.errors import FileFormatError, FileWriteError
from dfa_tl.nodes import NodeSet

VERSION = 1
MAX_BYTES = 2**30
"""Largest file that is read: W between two models of 16,000 nodes each."""
MAX_HEADER_BYTES = 2**24
"""Largest safetensors header that is read; it is parsed as JSON before any tensor."""
MAX_NODES = 1_000_000
"""Most nodes that a file may speak of, some two hundred times those of the largest models."""


def write_aside(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that it is there wholly or not at all.

    Raises:
        FileWriteError: the disk is full, `path` is a folder, or writing is not allowed.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise FileWriteError(
            f"{path} cannot be written ({error.strerror or error}): give the name of a file on a "
            "disk with room, in a folder that may be written to. What was there is as it was"
        ) from error


def json_bytes(content: object, what: str) -> bytes:
    """`content` as JSON.

    Raises:
        FileFormatError: `content` holds something that JSON cannot say; `what` names it.
    """
    try:
        return json.dumps(content, sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(
            f"{what} cannot be written as JSON ({error}): keep to text, numbers, lists and "
            "dictionaries with text as keys"
        ) from error


def parse_json(content: str | bytes, what: str) -> Any:
    """What a JSON text holds, every key once.

    Raises:
        FileFormatError: it is not JSON, nested too deep, or has a key twice, of which readers take
            one or the other; `what` is the message's subject.
    """
    try:
        return json.loads(content, object_pairs_hook=without_doubles)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{what} is not valid JSON: {error}") from error


def without_doubles(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON text; raises `ValueError` where a key is there twice."""
    found = dict(items)
    if len(found) < len(items):
        seen: set[str] = set()
        twice = next(key for key, _ in items if key in seen or seen.add(key))
        raise ValueError(f"the key {shown(twice)} is there twice")
    return found


def readable(path: str | Path, what: str, limit: int | None = None) -> Path:
    """The path of a file that is there and not too large.

    Args:
        path: The file.
        what: What it should be, for the message.
        limit: Most bytes it may have, `MAX_BYTES` unless given.

    Raises:
        FileFormatError: no such file, a folder, or one that is too large.
    """
    path, most = Path(path), MAX_BYTES if limit is None else limit
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder; expected {what}, a file")
    if not path.is_file():
        raise FileFormatError(f"no file {path}; expected {what}")
    size = path.stat().st_size
    if size > most:
        raise FileFormatError(
            f"{path} has {size:,} bytes; {what} has {most:,} at most, so it is not one or it was "
            "altered, and it was not read"
        )
    return path


def whole(value: object, name: str) -> int:
    """`value`, a whole number from 1. Raises `FileFormatError` for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise FileFormatError(f"{name} must be a whole number from 1, got {shown(value)}")
    return value


def node_set(n_layers: object, n_heads: object) -> NodeSet:
    """The nodes that a file speaks of.

    Raises:
        FileFormatError: not two whole numbers from 1, or more nodes than any model has.
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
        FileFormatError: metadata that JSON cannot say.
        FileWriteError: the file cannot be written; what was there is as it was.
    """
    header = {
        "format": f"dfa_tl/{kind}/{VERSION}",
        "metadata": json_bytes(dict(metadata), f"the metadata of {path}").decode(),
    }
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, header)
    if len(content) > MAX_BYTES or int.from_bytes(content[:8], "little") > MAX_HEADER_BYTES:
        raise FileWriteError(
            f"{path} was not written: it would have {len(content):,} bytes and could not be read "
            f"again ({MAX_BYTES:,} at most, {MAX_HEADER_BYTES:,} of them metadata)"
        )
    write_aside(Path(path), content)


def load_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Returns:
        The tensors by name, and the metadata.

    Raises:
        FileFormatError: no such file, one that is too large, truncated or altered, or one of
            another kind or version.
    """
    path = readable(path, f"a dfa_tl {kind} file")
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
            f"{path} has a header of {size:,} bytes, {MAX_HEADER_BYTES:,} at most are read; it was "
            "not written by dfa_tl, or was altered"
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
