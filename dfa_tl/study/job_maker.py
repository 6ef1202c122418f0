"""`JobMaker`: the jobs of one pair of models, method and seed, each by what decides its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.controls.control import Control
from dfa_tl.study.circuits import Circuit, EvaluateJob
from dfa_tl.study.config import PairSpec, StudyConfig
from dfa_tl.study.jobs import Job


@dataclass(frozen=True)
class JobMaker:
    """Makes jobs.

    Attributes:
        config: The study.
        pair: The models.
        method: Attribution method, or `none`.
        seed: The seed.
        hashes: Of each model.
        data_hashes: Of each split of each task that is not generated.
        code: What identifies the code.
    """

    config: StudyConfig
    pair: PairSpec
    method: str
    seed: int
    hashes: Mapping[str, str]
    data_hashes: Mapping[str, Mapping[str, str]]
    code: str

    def _model(self, role: str, name: str) -> dict[str, Any]:
        return {
            role: name,
            f"{role}_hash": self.hashes[name],
            f"{role}_dtype": self.config.dtype,
            f"{role}_prepend_bos": self.config.prepend_bos,
        }

    def _data(self, split: str, *tasks: str) -> dict[str, Any]:
        outside = {t: self.data_hashes[t][split] for t in tasks if t in self.data_hashes}
        return {"data": outside} if outside else {}

    def _machine(self) -> dict[str, Any]:
        return {"device": self.config.device, "batch_size": self.config.batch_size}

    def _settings(self, model: str, task: str) -> dict[str, Any]:
        return {
            **self._model("model", model),
            "task": task,
            **self._data("train", task),
            "train_pairs": self.config.n_attribution_pairs,
            "seed": self.seed,
            "method": self.method,
            "ig_steps": self.config.ig_steps,
            "ablation": self.config.ablation,
        }

    def attribute(self, model: str, task: str) -> Job:
        """Scores on all pairs for attribution."""
        return Job(
            "attribute", self._settings(model, task), machine=self._machine(), code=self.code
        )

    def few_pairs(self, task: str, draw: int, pairs: int) -> Job:
        """The target's scores on some of the pairs for attribution."""
        settings = self._settings(self.pair.target, task) | {"draw": draw, "pairs": pairs}
        return Job("few-pairs", settings, machine=self._machine(), code=self.code)

    def _bootstrapped(self, model: str, task: str, vector: int) -> Job:
        settings = self._settings(model, task) | {"vector": vector}
        return Job("bootstrapped", settings, machine=self._machine(), code=self.code)

    def source_scores(self, task: str) -> dict[str, Job]:
        """The source's scores, by their role."""
        return {"scores": self.attribute(self.pair.source, task)}

    def alignments(
        self, tasks: tuple[str, ...], variant: str, control: Control | None = None
    ) -> dict[str, Job]:
        """W of each step of the pair, trained on `tasks`.

        For a control that has a stand-in for source scores, only the last W is needed: it is tested
        on what it was trained with, not on what an earlier W makes of that.
        """
        settings = replace(self.config.variants[variant], seed=self.seed)
        steps = self.pair.steps[-1:] if control else self.pair.steps
        return {
            f"W{number}": self._align(source, target, tasks, settings, control)
            for number, (source, target) in enumerate(steps)
        }

    def settings_of(self, control: Control, variant: str) -> dict[str, Any]:
        """The settings of W that a control uses."""
        settings = replace(self.config.variants[variant], seed=self.seed)
        return _training(control.settings(settings))

    def _align(
        self,
        source: str,
        target: str,
        tasks: tuple[str, ...],
        settings: AlignmentConfig,
        control: Control | None,
    ) -> Job:
        vectors = settings.source_vectors
        if control:
            needs = {}
        elif vectors == 1:
            needs = {task: self.attribute(source, task) for task in tasks}
        else:
            needs = {
                f"{task}#{vector}": self._bootstrapped(source, task, vector)
                for task in tasks
                for vector in range(vectors)
            }
        return Job(
            "align",
            {
                **self._model("source", source),
                **self._model("target", target),
                "tasks": list(tasks),
                **self._data("train", *tasks),
                "train_pairs": self.config.train_pairs,
                "seed": self.seed,
                "stand_in": control.name if control else None,
                "config": _training(settings),
            },
            needs,
            self._machine(),
            self.code,
        )

    def control(
        self,
        control: Control,
        tasks: tuple[str, ...],
        needs: Mapping[str, Job],
        options: Mapping[str, Any],
    ) -> Job:
        """The scores of a control that is trained on the target."""
        return Job(
            "control",
            {
                "control": control.name,
                **self._model("target", self.pair.target),
                "tasks": list(tasks),
                **self._data("train", *tasks),
                "train_pairs": self.config.train_pairs,
                "seed": self.seed,
                "options": dict(options),
            },
            needs,
            self._machine(),
            self.code,
        )

    def evaluate(self, task: str, circuits: list[Circuit]) -> Job:
        """All circuits of one test task, measured together."""
        config = self.config
        needs = {
            f"{number}/{role}": job
            for number, circuit in enumerate(circuits)
            for role, job in circuit.needs.items()
        }
        if self.method in config.methods:
            needs["gold"] = self.attribute(self.pair.target, task)
        return EvaluateJob(
            "evaluate",
            {
                "pair": self.pair.name,
                "source": self.pair.source,
                **self._model("target", self.pair.target),
                "task": task,
                **self._data(config.test_split, task),
                "method": self.method,
                "seed": self.seed,
                "test": [config.test_split, config.test_pairs, config.test_seed],
                "ablation": config.ablation,
                "protocols": list(config.protocols),
                "rankings": list(config.rankings),
                "grids": list(config.grids),
                "metrics": list(config.metrics),
                "level": config.level,
                "resamples": config.resamples,
                "circuits": [circuit.to_dict() for circuit in circuits],
            },
            needs,
            self._machine(),
            self.code,
            tuple(circuits),
        )


def _training(settings: AlignmentConfig) -> dict[str, Any]:
    """What decides a training; how many source vectors there are shows in what the job needs."""
    return {name: value for name, value in asdict(settings).items() if name != "source_vectors"}
