"""An alignment, or several, as tensors and JSON-able metadata, and back.

Of one: tensors W, bias, loss, kl, mean_mask; metadata source, target, config, tasks, provenance.
Of several: the same tensors with `0.`, `1.`, ... before their names; metadata steps, a list.

Of the paper's code: W, the names of its nodes, and its settings (`dfa_tl.io.paper`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.history import AlignmentHistory
from dfa_tl.errors import FileFormatError
from dfa_tl.io.paper import PaperMatrix
from dfa_tl.io.tensors import node_set

HISTORY = ("loss", "kl", "mean_mask")


def pack(parts: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of one alignment, given by the arguments of `Alignment`."""
    source, target, history = parts["source"], parts["target"], parts["history"]
    tensors = {"W": parts["W"]}
    metadata: dict[str, Any] = {
        "source": [source.n_layers, source.n_heads],
        "target": [target.n_layers, target.n_heads],
        "config": asdict(parts["config"]),
        "provenance": dict(parts["provenance"]),
        "tasks": None,
    }
    if parts["bias"] is not None:
        tensors["bias"] = parts["bias"]
    if history is not None:
        tensors |= {key: getattr(history, key) for key in HISTORY}
        metadata["tasks"] = list(history.tasks)
    return tensors, metadata


def unpack(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `Alignment`, which checks the shapes and values of W and bias itself.

    Raises:
        FileFormatError: parts of another type or shape than `pack` makes.
        KeyError, TypeError, ConfigError: parts that are missing or make no sense.
    """
    unknown = set(tensors).difference(("W", "bias", *HISTORY))
    if unknown:
        raise FileFormatError(f"it holds tensors that an alignment has not: {sorted(unknown)[:5]}")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise FileFormatError(f"{name} must hold numbers, it holds {tensor.dtype}")
    if not isinstance(metadata["provenance"], dict):
        raise FileFormatError("the provenance must be a dictionary")
    settings = metadata["config"]
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if isinstance(value, float) and not math.isfinite(value):
            raise FileFormatError(f"{name}={value} in its settings must be finite")
    return {
        "W": tensors["W"],
        "source": node_set(*metadata["source"]),
        "target": node_set(*metadata["target"]),
        "config": AlignmentConfig(**settings),
        "history": _history(tensors, metadata["tasks"]),
        "provenance": metadata["provenance"],
        "bias": tensors.get("bias"),
    }


def _history(tensors: Mapping[str, Tensor], tasks: object) -> AlignmentHistory | None:
    if tasks is None:
        return None
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise FileFormatError("the tasks of the training steps must be a list of names")
    for name in HISTORY:
        if tensors[name].shape != (len(tasks),) or not tensors[name].isfinite().all():
            raise FileFormatError(
                f"{name} of the history must be {len(tasks)} finite numbers, one a training step"
            )
    return AlignmentHistory(*(tensors[name] for name in HISTORY), tasks=tuple(tasks))


def pack_all(steps: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of several alignments."""
    tensors, metadata = {}, []
    for number, step in enumerate(steps):
        own, about = pack(step)
        # Copies: an alignment may be in a chain twice, and safetensors takes no shared memory.
        tensors |= {f"{number}.{name}": tensor.clone() for name, tensor in own.items()}
        metadata.append(about)
    return tensors, {"steps": metadata}


def unpack_all(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Arguments of each `Alignment`, in order. Errors are those of `unpack`."""
    steps = []
    for number, about in enumerate(metadata["steps"]):
        prefix = f"{number}."
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        steps.append(unpack(own, about))
    return steps


PAPER_SETTINGS = {
    "epochs": "epochs",
    "lr": "learning_rate",
    "batch_size": "batch_size",
    "lambda_sparse": "sparsity",
    "seed": "seed",
}
"""Our names of the settings that the paper's code saves with W."""


def from_paper(matrix: PaperMatrix) -> dict[str, Any]:
    """Arguments of `Alignment` for a W of the paper's code.

    Raises:
        ConfigError: settings that make no sense.
    """
    meta = matrix.meta
    settings = {ours: meta[its] for its, ours in PAPER_SETTINGS.items() if its in meta}
    control = meta.get("control", "none")
    return {
        "W": matrix.W,
        "source": matrix.source,
        "target": matrix.target,
        "config": AlignmentConfig.paper(**settings),
        "provenance": {
            "source": meta.get("small_model", "source"),
            "target": meta.get("large_model", "target"),
            "tasks": meta.get("train_tasks", []),
            **({} if control == "none" else {"control": control}),
            "paper": meta,
        },
    }
