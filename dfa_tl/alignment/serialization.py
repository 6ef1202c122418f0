"""An alignment, or several, as tensors and JSON-able metadata, and back.

One alignment has the tensors W, bias, loss, kl, mean_mask and the metadata source, target, config,
tasks, provenance. Several have the same tensors with `0.`, `1.`, ... before their names, and the
metadata steps, a list. A file of the paper's code has W, the names of its nodes, and its settings
(`dfa_tl.io.paper`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from torch import Tensor

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.history import AlignmentHistory
from dfa_tl.arguments import fits
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
        FileFormatError: parts with another type or shape than `pack` gives them.
        KeyError, TypeError, ConfigError: parts that are missing or make no sense.
    """
    unknown = set(tensors).difference(("W", "bias", *HISTORY))
    if unknown:
        raise FileFormatError(f"an alignment has no tensors called {sorted(unknown)[:5]}")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise FileFormatError(f"{name} must hold numbers, it holds {tensor.dtype}")
    if not isinstance(metadata["provenance"], dict):
        raise FileFormatError("the provenance must be a dictionary")
    lacking = {each.name for each in fields(AlignmentConfig)}.difference(metadata["config"])
    if lacking:
        raise FileFormatError(f"it lacks the settings {sorted(lacking)}: an older version wrote it")
    return {
        "W": tensors["W"],
        "source": node_set(*metadata["source"]),
        "target": node_set(*metadata["target"]),
        "config": AlignmentConfig(**metadata["config"]),
        "history": _history(tensors, metadata["tasks"]),
        "provenance": metadata["provenance"],
        "bias": tensors.get("bias"),
    }


def _history(tensors: Mapping[str, Tensor], tasks: Any) -> AlignmentHistory | None:
    if tasks is None:
        return None
    if not fits(tasks, list[str]):
        raise FileFormatError("the tasks of the training steps must be a list of names")
    for name in HISTORY:
        if tensors[name].shape != (len(tasks),) or not tensors[name].isfinite().all():
            raise FileFormatError(
                f"{name} of the history must be {len(tasks)} finite numbers, one per step"
            )
    return AlignmentHistory(*(tensors[name] for name in HISTORY), tasks=tuple(tasks))


def pack_all(steps: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of several alignments."""
    tensors: dict[str, Tensor] = {}
    metadata: list[dict[str, Any]] = []
    for number, step in enumerate(steps):
        of_step, step_metadata = pack(step)
        # Copies: an alignment may be in a chain twice, and safetensors refuses shared memory.
        tensors |= {f"{number}.{name}": tensor.clone() for name, tensor in of_step.items()}
        metadata.append(step_metadata)
    return tensors, {"steps": metadata}


def unpack_all(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Arguments of each `Alignment`, in order. Errors are those of `unpack`."""
    steps: list[dict[str, Any]] = []
    for number, step_metadata in enumerate(metadata["steps"]):
        start = f"{number}."
        of_step = {k.removeprefix(start): t for k, t in tensors.items() if k.startswith(start)}
        steps.append(unpack(of_step, step_metadata))
    return steps


PAPER_SETTINGS = {
    "epochs": "epochs",
    "lr": "learning_rate",
    "batch_size": "batch_size",
    "lambda_sparse": "sparsity",
    "seed": "seed",
}
"""Our names for the settings that the paper's code saves with W."""


def from_paper(matrix: PaperMatrix) -> dict[str, Any]:
    """Arguments of `Alignment` for a W of the paper's code.

    Raises:
        ConfigError: settings that make no sense.
    """
    meta = matrix.meta
    settings = {ours: meta[paper] for paper, ours in PAPER_SETTINGS.items() if paper in meta}
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
