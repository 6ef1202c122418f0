"""Files of the package: tensors and their JSON metadata in one safetensors file, checked on load.

Nothing is pickled. A file is written aside and renamed, so a reader never sees half of one.
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

from dfa_tl.errors import FileFormatError

VERSION = 1


def write_aside(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that it is there wholly or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def save_tensors(
    path: str | Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON-able metadata as a file of the given `kind`."""
    header = {
        "format": f"dfa_tl/{kind}/{VERSION}",
        "metadata": json.dumps(dict(metadata), sort_keys=True),
    }
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, header)
    write_aside(Path(path), content)


def load_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Returns:
        The tensors by name, and the metadata.

    Raises:
        FileFormatError: no such file, a truncated or altered one, or one of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError(f"no file {path}; expected a dfa_tl {kind} file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = json.loads(header.get("metadata", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(
            f"{path} cannot be read as safetensors ({error}); it may be truncated or altered, "
            "write it again"
        ) from error
    if header.get("format") != f"dfa_tl/{kind}/{VERSION}" or not isinstance(metadata, dict):
        raise FileFormatError(
            f"{path} is not a dfa_tl {kind} file of version {VERSION}: its header says "
            f"{header.get('format', 'nothing')!r}"
        )
    return tensors, metadata
