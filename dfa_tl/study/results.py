"""`StudyResults`: what a folder holds of a study.

`frame()` is the tidy table: one row per pair, method, regime or control, variant, train tasks, test
task, seed, draw, protocol, ranking, metric and grid. It is sorted and has no wall times
(`dfa_tl.analysis.timings` has them), so it does not depend on how often the study was interrupted.
Only results with valid checksums count. Files below `jobs/` can be read with `NodeScores.load` and
`Alignment.load`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dfa_tl import display
from dfa_tl.alignment.alignment import Alignment, AlignmentChain
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import Regime
from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.io.atomic import user_path
from dfa_tl.io.hub import OnHub
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.settings import check_choice
from dfa_tl.study.config import GRIDS, StudyConfig
from dfa_tl.study.curves_file import CURVES_FILE, Curves, cut, load_curves
from dfa_tl.study.evaluate_job import JOB_VERSIONS, ROWS_FILE, EvaluateJob, Transfer
from dfa_tl.study.folder import STUDY_FILE, copy_study, read_description
from dfa_tl.study.job import Job
from dfa_tl.study.jobs import AlignJob, ScoresJob, load_W
from dfa_tl.study.keys import CircuitKey, View
from dfa_tl.study.plan import plan
from dfa_tl.study.rows import KEYS, checked_rows
from dfa_tl.study.schedule import Failure
from dfa_tl.study.store import Store


@checked_arguments
@dataclass(frozen=True, eq=False)
class StudyResults(OnHub):
    """Results of a study.

    Attributes:
        folder: Where they are.
        config: The study.
        model_hashes: Of each model.
        data_hashes: Of each split of each task that is not generated.
        job_versions: The version of each kind of job that the results are from, which may differ
            from this package's.
        failures: Jobs that failed in the run that returned these results; empty after `load`.
    """

    folder: Path
    config: StudyConfig
    model_hashes: Mapping[str, str]
    data_hashes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    job_versions: Mapping[str, int] = field(default_factory=lambda: dict(JOB_VERSIONS))
    failures: tuple[Failure, ...] = field(default=())

    hub_file = ""
    hub_patterns = (STUDY_FILE, "jobs/*/*/*.json", "jobs/*/*/*.safetensors")
    hub_limit = 2**34

    def __repr__(self) -> str:
        return f"StudyResults({display.shortened(str(self.folder))}: {', '.join(self._facts)})"

    @property
    def _facts(self) -> list[str]:
        config = self.config
        counts = {
            "pair": len(config.pairs),
            "task": len(config.tasks),
            "method": len(config.methods),
            "seed": len(config.seeds),
        }
        if self.failures:
            counts["failed job"] = len(self.failures)
        return [f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items()]

    def _repr_html_(self) -> str:
        title = display.shortened(f"StudyResults {self.folder}")
        if not self.evaluations:
            return display.block(title, self._facts, display.line("no measured circuits yet"))
        rows: Any = self.headline().groupby(["pair", "method", "regime"], sort=False)
        means = rows[["cpr", "cmd"]].mean().map("{:.3f}".format).reset_index()
        return display.block(title, self._facts, display.table(means))

    @classmethod
    @checked_arguments
    def load(cls, folder: str | Path) -> StudyResults:
        """The results of the study that was last run in a folder.

        Raises:
            FileFormatError: the folder holds no study, or a damaged one.
        """
        where = user_path(folder)
        return cls(where, *read_description(where))

    @cached_property
    def made_with(self) -> dict[str, dict[str, int]]:
        """Versions of packages, and the hardware, that made the results: in how many jobs each.

        A study that went on after an update, or on another machine, has several of a kind.
        """
        found: dict[str, dict[str, int]] = {}
        for job in self.jobs:
            for name, version in ((self.manifest(job) or {}).get("versions") or {}).items():
                counts = found.setdefault(name, {})
                counts[version] = counts.get(version, 0) + 1
        return found

    @cached_property
    def versions(self) -> dict[str, str]:
        """The same without counts: several versions of a package are listed with commas."""
        return {name: ", ".join(counts) for name, counts in self.made_with.items()}

    @cached_property
    def dates(self) -> tuple[str, ...]:
        """The days (UTC) on which results were made, in order."""
        days = {(self.manifest(job) or {}).get("date") for job in self.jobs}
        return tuple(sorted(day for day in days if day))

    @checked_arguments
    def save(self, path: str | Path) -> None:
        """Copy the study to a new or empty folder: settings, valid results, and `tables/`.

        `dfa_tl.analysis.write_tables(results, results.folder / "tables")` makes the tables.

        Raises:
            FileWriteError: the folder is not empty or cannot be written.
        """
        copy_study(self._store, self.jobs, path)

    def _card_text(self) -> tuple[str, Mapping[str, Any]]:
        return (
            "A study of how well circuits carry over between models: its settings, the result of "
            "every job below `jobs/`, and tables below `tables/`.",
            self.config.to_dict(),
        )

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """The study's jobs, each once, in an order in which needs come first."""
        return plan(self.config, self.model_hashes, self.data_hashes, self.job_versions)

    @cached_property
    def _saved_curves(self) -> dict[str, Curves]:
        """Curves read so far, by job."""
        return {}

    @cached_property
    def _cut_curves(self) -> dict[tuple[str, str, View], dict[CircuitKey, FaithfulnessCurve]]:
        """The same on one grid and from one view; tables and figures ask for them many times."""
        return {}

    @cached_property
    def _store(self) -> Store:
        return Store(self.folder)

    @property
    def view(self) -> View:
        """Protocol, ranking and metric of the headline."""
        return self.config.views[0]

    @property
    def missing(self) -> list[Job]:
        """Jobs without a valid result."""
        return [job for job in self.jobs if not self._store.has(job)]

    @cached_property
    def evaluations(self) -> list[EvaluateJob]:
        """The evaluation jobs with valid results, checked once."""
        jobs = [job for job in self.jobs if isinstance(job, EvaluateJob)]
        return [job for job in jobs if self._store.has(job)]

    @cached_property
    def _frame(self) -> pd.DataFrame:
        rows = []
        for job in self.evaluations:
            rows += checked_rows((self._store.path(job) / ROWS_FILE).read_bytes(), job)
        if not rows:
            raise FileFormatError(f"{self.folder} holds no measured circuits yet; run the study")
        return pd.DataFrame(rows).sort_values(KEYS, kind="stable", ignore_index=True)

    def frame(self) -> pd.DataFrame:
        """The tidy table. Intervals are over test pairs; costs are passes of one pair."""
        return self._frame.copy()

    @checked_arguments
    def headline(self, view: View | None = None) -> pd.DataFrame:
        """The rows of the first protocol, ranking, metric and grid.

        Args:
            view: Another protocol, ranking and metric.
        """
        chosen = (view or self.view)._asdict() | {"grid": self.config.grids[0]}
        rows: Any = self._frame
        for column, value in chosen.items():
            rows = rows[rows[column] == value]
        return rows.reset_index(drop=True)

    @checked_arguments
    def manifest(self, job: Job) -> dict[str, Any] | None:
        """What is on record of a job: `seconds`, passes, checksums; None where it is not done."""
        return self._store.manifest(job)

    def _job(self, pair: str, task: str, method: str, seed: int) -> EvaluateJob:
        for job in self.evaluations:
            if (job.pair, job.task, job.method, job.seed) == (pair, task, method, seed):
                return job
        raise ConfigError(
            f"no circuits were measured for pair={pair!r}, task={task!r}, method={method!r}, "
            f"seed={seed} in {self.folder}"
        )

    @checked_arguments
    def curves(
        self,
        pair: str,
        task: str,
        method: str,
        seed: int = 0,
        *,
        grid: str | None = None,
        view: View | Sequence[str] | None = None,
    ) -> dict[CircuitKey, FaithfulnessCurve]:
        """Curves of one test task by circuit.

        Args:
            pair: Name of the pair of models.
            task: Test task.
            method: Attribution method, or `none` for the controls without a source.
            seed: The seed.
            grid: Name of a grid; the headline's by default.
            view: Protocol, ranking and metric; the headline's by default.
        """
        if view is not None and len(view) != len(View._fields):
            raise ConfigError(f"view: expected {', '.join(View._fields)}, got {list(view)}")
        chosen = View(*view) if view is not None else self.view
        job = self._job(pair, task, method, seed)
        grid = self.config.grids[0] if grid is None else grid
        check_choice("grid", grid, self.config.grids)
        if job.key not in self._saved_curves:
            self._saved_curves[job.key] = load_curves(self._store.path(job) / CURVES_FILE)
        if (job.key, grid, chosen) not in self._cut_curves:
            self._cut_curves[job.key, grid, chosen] = {
                key: cut(by_view[chosen], GRIDS[grid])
                for key, by_view in self._saved_curves[job.key].items()
                if chosen in by_view
            }
        return dict(self._cut_curves[job.key, grid, chosen])

    @checked_arguments
    def scores(
        self, pair: str, task: str, method: str, seed: int = 0
    ) -> dict[CircuitKey, NodeScores]:
        """The score vectors of one test task by circuit."""
        job = self._job(pair, task, method, seed)
        nodes = self._target_nodes(job)
        return {circuit.key: circuit.scores(self._store, nodes) for circuit in job.circuits}

    @checked_arguments
    def source_scores(self, pair: str, task: str, method: str, seed: int = 0) -> NodeScores:
        """The source model's scores of a task, which the regimes carry over."""
        return self._transfer(pair, task, method, seed).scores.load(self._store)

    @checked_arguments
    def alignment(
        self, pair: str, task: str, method: str, seed: int = 0, *, regime: str = Regime.ZERO_SHOT
    ) -> Alignment | AlignmentChain:
        """The W that carries a task's circuit over in a regime, under the first settings.

        Raises:
            ConfigError: no such circuit was measured.
        """
        return load_W(self._transfer(pair, task, method, seed, regime).alignments, self._store)

    def _transfer(
        self, pair: str, task: str, method: str, seed: int, regime: str | None = None
    ) -> Transfer:
        """How the circuit of a regime, or of any, is carried over under the first settings."""
        for circuit in self._job(pair, task, method, seed).circuits:
            key, origin = circuit.key, circuit.origin
            if (
                isinstance(origin, Transfer)
                and key.variant == self.config.default_variant
                and regime in (None, key.name)
            ):
                return origin
        raise ConfigError(f"no circuits of {regime or 'any regime'} for {task} in {self.folder}")

    def _target_nodes(self, job: EvaluateJob) -> NodeSet:
        for need in job.needs:
            if need.model_run.name == job.target.name:
                if isinstance(need, AlignJob):
                    return need.load(self._store).target
                if isinstance(need, ScoresJob):
                    return need.load(self._store).nodes
        raise ConfigError(f"{job} has no circuits of the target")
