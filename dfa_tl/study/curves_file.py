"""`curves.safetensors`: curves by circuit and view, on the union of a study's grids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from dfa_tl.errors import FileFormatError, NumericsError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.io.tensors import load_tensors, save_tensors
from dfa_tl.study.keys import CircuitKey, View

CURVES_FILE = "curves.safetensors"
Curves: TypeAlias = dict[CircuitKey, dict[View, FaithfulnessCurve]]


def cut(curve: FaithfulnessCurve, ks: tuple[float, ...]) -> FaithfulnessCurve:
    """The curve on some of its proportions."""
    indices = [curve.ks.index(k) for k in ks]
    n_kept = tuple(curve.n_kept[index] for index in indices)
    return replace(curve, ks=ks, n_kept=n_kept, pair_values=curve.pair_values[indices])


def save_curves(path: Path, curves: Curves) -> None:
    """Write the curves; what views have in common (clean and corrupt runs) is written once."""
    tensors: dict[str, torch.Tensor] = {}
    index = []
    for key, by_view in curves.items():
        for view, curve in by_view.items():
            values = {f"{len(index)}": curve.pair_values}
            values |= {f"{run} {view.metric}": getattr(curve, run) for run in ("clean", "corrupt")}
            if curve.empty is not None:
                values[f"empty {view.protocol} {view.metric}"] = curve.empty
            # Metrics are float32 numbers, so nothing is lost.
            tensors |= {
                name: torch.from_numpy(each.astype(np.float32)) for name, each in values.items()
            }
            index.append(
                {
                    "circuit": asdict(key),
                    "view": list(view),
                    "ks": list(curve.ks),
                    "n_kept": list(curve.n_kept),
                    "provenance": dict(curve.provenance),
                }
            )
    save_tensors(path, "curves", tensors, {"curves": index})


def load_curves(path: Path) -> Curves:
    """The curves in a file.

    Raises:
        FileFormatError: a file that is not of this kind, or whose curves make no sense.
    """
    tensors, metadata = load_tensors(path, "curves")
    curves: Curves = {}
    try:
        for number, entry in enumerate(metadata["curves"]):
            circuit = entry["circuit"]
            key = CircuitKey(**circuit | {"train_tasks": tuple(circuit["train_tasks"])})
            view = View(*entry["view"])
            curves.setdefault(key, {})[view] = _curve(number, view, entry, tensors)
    except (KeyError, TypeError, ValueError, NumericsError) as error:
        raise FileFormatError(f"{path} does not hold valid curves: {error}") from error
    return curves


def _curve(
    number: int, view: View, entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> FaithfulnessCurve:
    empty = tensors.get(f"empty {view.protocol} {view.metric}")
    return FaithfulnessCurve(
        ks=tuple(entry["ks"]),
        n_kept=tuple(entry["n_kept"]),
        pair_values=tensors[f"{number}"].double().numpy(),
        clean=tensors[f"clean {view.metric}"].double().numpy(),
        corrupt=tensors[f"corrupt {view.metric}"].double().numpy(),
        protocol=view.protocol,
        metric=view.metric,
        provenance=entry["provenance"],
        empty=None if empty is None else empty.double().numpy(),
    )
