"""`EvaluateJob`: all circuits of one test task, measured together into rows and curves.

All grids are measured as one, their union, and the curve on each grid is cut out of it; it is
exactly what `evaluate` gives there. Equal circuits of different score vectors are run once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from dfa_tl.controls.regimes import GOLD
from dfa_tl.errors import NumericsError
from dfa_tl.evaluation.circuits import expected_runs
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.evaluate import evaluate_many
from dfa_tl.evaluation.intervals import Bootstrap, cmd_interval, cpr_interval
from dfa_tl.evaluation.structure import profile_correlation, score_correlation, top_overlap
from dfa_tl.io.atomic import write_file
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.study.config import GRIDS
from dfa_tl.study.control_job import ControlInputs, ControlJob
from dfa_tl.study.cost import cost_of
from dfa_tl.study.curves_file import CURVES_FILE, Curves, cut, save_curves
from dfa_tl.study.inputs import ModelSpec, Sample
from dfa_tl.study.job import Job, Result, Workload, jobs_in, with_needs
from dfa_tl.study.jobs import (
    AlignJob,
    AttributeJob,
    ScoresJob,
    load_W,
)
from dfa_tl.study.keys import CircuitKey, View, machine_field
from dfa_tl.study.store import Store
from dfa_tl.tasks.metrics import METRICS

logger = logging.getLogger(__name__)

ROWS_FILE = "rows.json"
OVERLAPS = (0.1, 0.2, 0.5)


@dataclass(frozen=True, eq=False)
class Transfer:
    """Source scores that are carried over through W.

    Attributes:
        alignments: The steps of W.
        scores: Source scores of the test task.
    """

    alignments: tuple[AlignJob, ...]
    scores: AttributeJob

    def build_scores(self, store: Store, nodes: NodeSet) -> NodeScores:
        """The predicted scores of the target's nodes."""
        return load_W(self.alignments, store).transfer(self.scores.load(store))


@dataclass(frozen=True, eq=False)
class Circuit:
    """A score vector that is measured.

    Attributes:
        key: Which circuit it is.
        origin: Where its scores come from.
        all_views: Whether it is measured in every view, or in the headline's only.
    """

    key: CircuitKey
    origin: ScoresJob | Transfer | ControlInputs
    all_views: bool = False

    @property
    def needs(self) -> tuple[Job, ...]:
        """The jobs that its scores are built from."""
        return tuple(jobs_in(self.origin))

    @property
    def source_scores(self) -> AttributeJob | None:
        """Source scores of the test task, where it is built from them."""
        return None if isinstance(self.origin, ScoresJob) else self.origin.scores

    def scores(self, store: Store, nodes: NodeSet) -> NodeScores:
        """Its scores of the target's nodes."""
        if isinstance(self.origin, ScoresJob):
            return self.origin.load(store)
        return self.origin.build_scores(store, nodes)


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluateJob(Job):
    """Measures circuits of one pair of models, test task, method and seed.

    Attributes:
        pair: Name of the pair of models.
        target: The target model.
        data: The test pairs.
        method: Attribution method, or `none`.
        seed: The study's seed.
        circuits: What is measured.
        gold: Gold scores, which the others are compared with; None without a method.
        views: How circuits are measured; the headline's view first.
        grids: On which proportions of nodes.
        ablation: What a left-out node becomes.
        level: Confidence level of the intervals.
        resamples: Of the bootstrap.
        batch_size: Pairs per run; does not decide results.
    """

    kind: ClassVar[str] = "evaluate"
    code_version: ClassVar[int] = 2

    pair: str
    target: ModelSpec
    data: Sample
    method: str
    seed: int
    circuits: tuple[Circuit, ...]
    gold: AttributeJob | None
    views: tuple[View, ...]
    grids: tuple[str, ...]
    ablation: str
    level: float
    resamples: int
    batch_size: int = machine_field()

    @property
    def task(self) -> str:
        """The test task."""
        return self.data.task

    @property
    def tasks(self) -> tuple[str, ...]:
        """The test task."""
        return (self.data.task,)

    @property
    def shares_prefixes(self) -> bool:
        """See `Job`."""
        return self.ablation == "counterfactual"

    @property
    def model_run(self) -> ModelSpec:
        """The target."""
        return self.target

    @property
    def summary(self) -> dict[str, object]:
        """Pair of models, task, method and seed."""
        return {
            "pair": self.pair,
            "task": self.task,
            "method": self.method,
            "seed": self.seed,
        }

    def columns(self, key: CircuitKey) -> dict[str, Any]:
        """The columns that say which circuit a row is about."""
        of_circuit = key.columns
        return {
            "pair": self.pair,
            "method": self.method,
            **{name: of_circuit.pop(name) for name in ("regime", "variant", "train_tasks")},
            "test_task": self.task,
            "seed": self.seed,
            **of_circuit,
        }

    def run(self, store: Store) -> Result:
        """Measure the circuits; the result is `rows.json` and `curves.safetensors`."""
        nodes = self.target.load().nodes
        scores = {circuit.key: circuit.scores(store, nodes) for circuit in self.circuits}
        curves = self._curves(scores)
        gold = self.gold.load(store) if self.gold is not None else None
        manifests = {
            key: store.manifest(job) or {}
            for key, job in with_needs(
                need for circuit in self.circuits for need in circuit.needs
            ).items()
        }
        bootstrap = Bootstrap(self.level, self.resamples)
        rows = []
        for circuit in self.circuits:
            shared = {
                **self.columns(circuit.key),
                **_structure(circuit, scores[circuit.key], gold, store),
                **cost_of(circuit.needs, manifests, self.task, self.target.name),
            }
            for view, curve in curves[circuit.key].items():
                for grid in self.grids:
                    numbers = _numbers(cut(curve, GRIDS[grid]), bootstrap)
                    rows.append({**shared, **view._asdict(), "grid": grid, **numbers})

        def write(folder: Path) -> None:
            content = json_bytes(rows, "the rows", indent=0, sort_keys=False)
            write_file(folder / ROWS_FILE, content)
            save_curves(folder / CURVES_FILE, curves)

        return Result(write, {})

    def workload(self, nodes: NodeSet) -> Workload:
        """As if all score vectors were random."""
        forward, rows = 0.0, 0
        for protocol, _, metrics, keys in self._measurements():
            forward += 2 + (self.ablation != "counterfactual")
            forward += expected_runs(len(keys), nodes, self._ks, protocol)
            rows += len(keys) * len(metrics)
        numbers = rows * len(self._ks) * self.data.size
        return Workload(
            forward * self.data.size,
            0,
            (self.data,),
            self.batch_size,
            rows * len(self.grids),
            numbers,
        )

    @property
    def _ks(self) -> tuple[float, ...]:
        """The union of the grids."""
        return tuple(sorted({k for grid in self.grids for k in GRIDS[grid]}))

    def _measurements(self) -> Iterator[tuple[str, str, list[str], list[CircuitKey]]]:
        """Protocol, ranking, metrics and circuits that are measured together."""
        first = self.views[0]
        metrics: dict[tuple[str, str], list[str]] = {}
        for view in self.views:
            metrics.setdefault((view.protocol, view.ranking), []).append(view.metric)
        for (protocol, ranking), names in metrics.items():
            everything = (protocol, ranking) == (first.protocol, first.ranking)
            keys = [each.key for each in self.circuits if everything or each.all_views]
            if keys:
                yield protocol, ranking, names, keys

    def _curves(self, scores: Mapping[CircuitKey, NodeScores]) -> Curves:
        """Curves on the union of the grids."""
        first = self.views[0]
        in_all_views = [circuit.key for circuit in self.circuits if circuit.all_views]
        curves: Curves = {key: {} for key in scores}
        for protocol, ranking, names, keys in self._measurements():
            measure = partial(
                evaluate_many,
                self.target.load(),
                self.data.tokens(self.target),
                {str(number): scores[key] for number, key in enumerate(keys)},
                protocol=protocol,
                ks=self._ks,
                ablation=self.ablation,
                absolute=ranking == "absolute",
                batch_size=self.batch_size,
                progress=False,
            )
            measured = _by_metric(measure, names)
            for number, key in enumerate(keys):
                for name, curve in measured[str(number)].items():
                    if name == first.metric or key in in_all_views:
                        curves[key][View(protocol, ranking, name)] = curve
        return curves


def _by_metric(
    measure: Callable[..., Any], names: list[str]
) -> dict[str, dict[str, FaithfulnessCurve]]:
    """Curves by circuit and metric. A metric other than the first that is undefined is left out."""
    try:
        return measure(metrics={name: METRICS[name] for name in names})
    except NumericsError:
        if len(names) == 1:
            raise
    found = measure(metrics={names[0]: METRICS[names[0]]})
    for name in names[1:]:
        try:
            more = measure(metrics={name: METRICS[name]})
        except NumericsError as error:
            logger.warning("%s is left out: %s", name, error)
            continue
        found = {number: curves | more[number] for number, curves in found.items()}
    return found


def _structure(
    circuit: Circuit, scores: NodeScores, gold: NodeScores | None, store: Store
) -> dict[str, float | None]:
    """How much of gold's structure, and of the source's layer profile, the scores keep."""
    of_profile = ("profile_pearson", "profile_spearman")
    names = ["pearson", "spearman", *(f"overlap_{k}" for k in OVERLAPS), *of_profile]
    found: dict[str, float | None] = dict.fromkeys(names)
    if gold is not None and circuit.key.name != GOLD:
        correlation = score_correlation(scores, gold)
        found |= {"pearson": correlation.pearson, "spearman": correlation.spearman}
        found |= {f"overlap_{k}": top_overlap(scores, gold, k) for k in OVERLAPS}
    if circuit.source_scores is not None:
        profiles = profile_correlation(circuit.source_scores.load(store), scores)
        found |= dict(zip(of_profile, (profiles.pearson, profiles.spearman), strict=True))
    return found


def _numbers(curve: FaithfulnessCurve, bootstrap: Bootstrap) -> dict[str, Any]:
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


JOB_VERSIONS: dict[str, int] = {
    kind.kind: kind.code_version for kind in (AttributeJob, AlignJob, ControlJob, EvaluateJob)
}
"""The version of each kind of job in this package."""
