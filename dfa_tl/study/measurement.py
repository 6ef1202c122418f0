"""Measuring all circuits of one test task together, and the rows and curves that come of it.

All grids are measured as one, their union, and cut out of it: the curve on a grid is exactly what
`evaluate` gives there. Equal circuits of different score vectors are run once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dfa_tl.controls.regimes import GOLD
from dfa_tl.errors import FileFormatError, NumericsError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.evaluate import evaluate_many
from dfa_tl.evaluation.intervals import Bootstrap, cmd_interval, cpr_interval
from dfa_tl.evaluation.structure import profile_correlation, score_correlation, top_overlap
from dfa_tl.io.atomic import write_file
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.io.tensors import load_tensors, save_tensors
from dfa_tl.models.node_model import NodeModel
from dfa_tl.scores import NodeScores
from dfa_tl.study.circuits import Circuit, EvaluateJob, made
from dfa_tl.study.config import GRIDS
from dfa_tl.study.cost import closure, cost_of
from dfa_tl.study.jobs import Job
from dfa_tl.tasks.metrics import METRICS
from dfa_tl.tasks.pairs import PairDataset

logger = logging.getLogger(__name__)

KEYS = (
    "pair method regime variant train_tasks test_task seed draw pairs protocol ranking metric grid"
).split()
"""The columns that tell rows apart, in the order in which rows are sorted."""
OVERLAPS = (0.1, 0.2, 0.5)


class View(NamedTuple):
    """One way of measuring."""

    protocol: str
    ranking: str
    metric: str


def headline(settings: Mapping[str, Any]) -> View:
    """The first protocol, ranking and metric."""
    return View(settings["protocols"][0], settings["rankings"][0], settings["metrics"][0])


def views(settings: Mapping[str, Any]) -> list[View]:
    """The headline's view, and those that differ from it in one thing."""
    first = headline(settings)
    return [
        first,
        *(first._replace(protocol=name) for name in settings["protocols"][1:]),
        *(first._replace(ranking=name) for name in settings["rankings"][1:]),
        *(first._replace(metric=name) for name in settings["metrics"][1:]),
    ]


def cut(curve: FaithfulnessCurve, ks: tuple[float, ...]) -> FaithfulnessCurve:
    """The curve on some of its proportions."""
    places = [curve.ks.index(k) for k in ks]
    kept = tuple(curve.n_kept[place] for place in places)
    return replace(curve, ks=ks, n_kept=kept, pair_values=curve.pair_values[places])


def measure(
    job: EvaluateJob,
    target: NodeModel,
    data: PairDataset,
    load: Callable[[Job], Any],
    manifest: Callable[[Job], Any],
) -> Callable[[Path], None]:
    """Measure a job's circuits. Returns what writes `rows.json` and `curves.safetensors`."""
    settings = job.settings
    scores: dict[str, NodeScores] = {}
    for circuit in job.circuits:
        scores[circuit.label] = made(
            circuit, lambda role, needs=circuit.needs: load(needs[role]), target.nodes
        )
    curves = _curves(job, target, data, scores)
    made_from = closure(need for circuit in job.circuits for need in circuit.needs.values())
    facts = {key: manifest(need) or {} for key, need in made_from.items()}
    gold = load(job.needs["gold"]) if "gold" in job.needs else None
    rows = []
    for circuit in job.circuits:
        shared = {
            **identity(job, circuit),
            **_structure(circuit, scores[circuit.label], gold, load),
            **cost_of(circuit.needs.values(), facts, settings["task"], settings["target"]),
        }
        for view, curve in curves[circuit.label].items():
            for grid in settings["grids"]:
                numbers = _numbers(cut(curve, GRIDS[grid]), settings)
                rows.append({**shared, **view._asdict(), "grid": grid, **numbers})

    def write(folder: Path) -> None:
        content = json_bytes(rows, "the rows", indent=0, sort_keys=False)
        write_file(folder / "rows.json", content)
        _save_curves(folder / "curves.safetensors", curves)

    return write


def _curves(
    job: EvaluateJob, target: NodeModel, data: PairDataset, scores: Mapping[str, NodeScores]
) -> dict[str, dict[View, FaithfulnessCurve]]:
    settings = job.settings
    ks = tuple(sorted({k for grid in settings["grids"] for k in GRIDS[grid]}))
    first = headline(settings)
    everywhere = [circuit.label for circuit in job.circuits if circuit.all_views]
    curves: dict[str, dict[View, FaithfulnessCurve]] = {label: {} for label in scores}
    ways = dict.fromkeys((view.protocol, view.ranking) for view in views(settings))
    for protocol, ranking in ways:
        is_first = (protocol, ranking) == (first.protocol, first.ranking)
        labels = list(scores) if is_first else everywhere
        if not labels:
            continue
        names = settings["metrics"] if is_first else settings["metrics"][:1]
        run = partial(
            evaluate_many,
            target,
            data,
            {label: scores[label] for label in labels},
            protocol=protocol,
            ks=ks,
            ablation=settings["ablation"],
            absolute=ranking == "absolute",
            batch_size=job.machine["batch_size"],
            progress=False,
        )
        measured = _measured(run, names)
        for label in labels:
            for name, curve in measured[label].items():
                if name == first.metric or label in everywhere:
                    curves[label][View(protocol, ranking, name)] = curve
    return curves


def _measured(run: Callable[..., Any], names: list[str]) -> dict[str, dict[str, FaithfulnessCurve]]:
    """Curves by circuit and metric. A metric other than the first that is undefined is left out."""
    try:
        return run(metrics={name: METRICS[name] for name in names})
    except NumericsError:
        if len(names) == 1:
            raise
    found = run(metrics={names[0]: METRICS[names[0]]})
    for name in names[1:]:
        try:
            more = run(metrics={name: METRICS[name]})
        except NumericsError as error:
            logger.warning("%s is left out: %s", name, error)
            continue
        found = {label: by_metric | more[label] for label, by_metric in found.items()}
    return found


def identity(job: EvaluateJob, circuit: Circuit) -> dict[str, Any]:
    """The columns that say which circuit a row is of."""
    settings = job.settings
    return {
        "pair": settings["pair"],
        "method": settings["method"],
        "regime": circuit.name,
        "variant": circuit.variant,
        "train_tasks": "+".join(circuit.train_tasks),
        "test_task": settings["task"],
        "seed": settings["seed"],
        "draw": circuit.draw,
        "pairs": circuit.pairs,
    }


def _structure(
    circuit: Circuit, scores: NodeScores, gold: NodeScores | None, load: Callable[[Job], Any]
) -> dict[str, float | None]:
    """How much of gold's structure, and of the source's layer profile, the scores keep."""
    of_profile = ("profile_pearson", "profile_spearman")
    names = ["pearson", "spearman", *(f"overlap_{k}" for k in OVERLAPS), *of_profile]
    found: dict[str, float | None] = dict.fromkeys(names)
    if gold is not None and circuit.name != GOLD:
        both = score_correlation(scores, gold)
        found |= {"pearson": both.pearson, "spearman": both.spearman}
        found |= {f"overlap_{k}": top_overlap(scores, gold, k) for k in OVERLAPS}
    if "scores" in circuit.needs:
        profiles = profile_correlation(load(circuit.needs["scores"]), scores)
        found |= dict(zip(of_profile, (profiles.pearson, profiles.spearman), strict=True))
    return found


def _numbers(curve: FaithfulnessCurve, settings: Mapping[str, Any]) -> dict[str, Any]:
    bootstrap = Bootstrap(settings["level"], settings["resamples"])
    cpr, cmd = cpr_interval(curve, bootstrap), cmd_interval(curve, bootstrap)
    return {
        "cpr": curve.cpr,
        "cpr_low": cpr.low,
        "cpr_high": cpr.high,
        "cmd": curve.cmd,
        "cmd_low": cmd.low,
        "cmd_high": cmd.high,
        "floor": curve.floor,
        "n": len(curve.clean),
        "m_clean": float(curve.clean.mean()),
        "m_corrupt": float(curve.corrupt.mean()),
    }


def _save_curves(path: Path, curves: Mapping[str, Mapping[View, FaithfulnessCurve]]) -> None:
    tensors: dict[str, torch.Tensor] = {}
    index = []
    for label, by_view in curves.items():
        for view, curve in by_view.items():
            number = len(index)
            # Metrics are float32 numbers, so nothing is lost.
            tensors[f"{number}"] = torch.from_numpy(curve.pair_values.astype(np.float32))
            for run in ("clean", "corrupt"):
                values = getattr(curve, run).astype(np.float32)
                tensors[f"{run} {view.metric}"] = torch.from_numpy(values)
            if curve.empty is not None:
                values = curve.empty.astype(np.float32)
                tensors[f"empty {view.protocol} {view.metric}"] = torch.from_numpy(values)
            index.append(
                {
                    "label": label,
                    "view": list(view),
                    "ks": list(curve.ks),
                    "n_kept": list(curve.n_kept),
                    "provenance": dict(curve.provenance),
                }
            )
    save_tensors(path, "curves", tensors, {"curves": index})


def load_curves(path: Path) -> dict[str, dict[View, FaithfulnessCurve]]:
    """Curves of a job by circuit and view, on the union of the grids.

    Raises:
        FileFormatError: a file that is not of this kind, or whose curves make no sense.
    """
    tensors, metadata = load_tensors(path, "curves")
    try:
        return _read_curves(tensors, metadata)
    except (KeyError, TypeError, ValueError, NumericsError) as error:
        raise FileFormatError(f"{path} does not hold valid curves: {error}") from error


def _read_curves(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> dict[str, dict[View, FaithfulnessCurve]]:
    curves: dict[str, dict[View, FaithfulnessCurve]] = {}
    for number, entry in enumerate(metadata["curves"]):
        view = View(*entry["view"])
        empty = tensors.get(f"empty {view.protocol} {view.metric}")
        curve = FaithfulnessCurve(
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
        curves.setdefault(entry["label"], {})[view] = curve
    return curves
