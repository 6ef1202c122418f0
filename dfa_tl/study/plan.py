"""`plan`: from a `StudyConfig` to its jobs, in an order in which needs come first.

One group per pair, method and seed: source and gold scores, every W, every control, and one
`evaluate` job per test task that measures all circuits of the task together. Another group holds
the controls that do not depend on attributed scores (`none` for the method). Equal jobs of
different regimes are one job: the W of near-distribution is the in-distribution one of the related
task.

A control that belongs to regimes is trained on the tasks that W is: `uniform_s` is zero-shot's, and
every other regime but cross-task has its own, `uniform_s (in-distribution)` and so on. What the
source accounts for in a regime is the difference from that one; else having seen the test task
would be credited to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dfa_tl.controls.control import Control, Need
from dfa_tl.controls.regimes import FEW_PAIRS, GOLD, Regime
from dfa_tl.controls.registry import CONTROLS
from dfa_tl.seeds import seed_of
from dfa_tl.study.circuits import Circuit
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.job_maker import JobMaker
from dfa_tl.study.jobs import Group, Job

IN_EVERY_VARIANT = (Regime.IN_DISTRIBUTION, Regime.ZERO_SHOT)
"""The regimes under every alignment setting; the others are measured under the first only."""


def plan(
    config: StudyConfig,
    model_hashes: Mapping[str, str],
    data_hashes: Mapping[str, Mapping[str, str]],
    code: str,
) -> tuple[Group, ...]:
    """All groups of jobs of a study.

    Args:
        config: The study.
        model_hashes: Of each model that its pairs name.
        data_hashes: Of each split of each task that is not generated.
        code: What identifies the code.
    """
    methods = dict.fromkeys((*config.methods, *config.few_pairs_methods))
    groups = (
        _Planner(JobMaker(config, pair, method, seed, model_hashes, data_hashes, code)).group()
        for pair in config.pairs
        for seed in config.seeds
        for method in ("none", *methods)
    )
    return tuple(group for group in groups if group.jobs)


@dataclass(frozen=True)
class _Planner:
    jobs: JobMaker

    @property
    def config(self) -> StudyConfig:
        return self.jobs.config

    def group(self) -> Group:
        """The jobs of one pair, method and seed."""
        ordered: dict[str, Job] = {}

        def add(job: Job) -> None:
            for need in job.needs.values():
                add(need)
            ordered.setdefault(job.key, job)

        for task in self.config.tasks:
            if circuits := list(self._circuits(task)):
                add(self.jobs.evaluate(task, circuits))
        return Group(self.jobs.pair.name, self.jobs.method, self.jobs.seed, tuple(ordered.values()))

    def _circuits(self, task: str) -> Iterator[Circuit]:
        method, config = self.jobs.method, self.config
        if method in config.methods:
            gold = {"made": self.jobs.attribute(self.jobs.pair.target, task)}
            yield Circuit(GOLD, gold, (task,), pairs=config.n_attribution_pairs, all_views=True)
            yield from self._regimes(task)
        if method == "none" or method in config.methods:
            for name in config.controls:
                if CONTROLS[name].depends_on_method == (method != "none"):
                    yield from self._control(CONTROLS[name], task)
        if method in config.few_pairs_methods:
            yield from self._few_pairs(task)

    def _regimes(self, task: str) -> Iterator[Circuit]:
        config = self.config
        for variant in config.variants:
            for regime in map(Regime, config.regimes):
                if not self._is_measured(regime, variant):
                    continue
                for tasks in config.train_tasks(regime, task):
                    needs = self.jobs.alignments(tasks, variant) | self.jobs.source_scores(task)
                    views = variant == config.default_variant and regime is not Regime.CROSS_TASK
                    yield Circuit(
                        regime.value,
                        needs,
                        tasks,
                        variant,
                        pairs=config.n_attribution_pairs,
                        all_views=views,
                    )

    def _is_measured(self, regime: Regime, variant: str) -> bool:
        return variant == self.config.default_variant or regime in IN_EVERY_VARIANT

    def _control(self, control: Control, task: str) -> Iterator[Circuit]:
        config = self.config
        if len(self.jobs.pair.steps) > 1 and not control.takes_chains:
            return
        for variant in config.variants:
            is_default = variant == config.default_variant
            if not (is_default or control.every_variant):
                continue
            uses_settings = control.every_variant or Need.ALIGNMENT in control.needs
            for name, tasks in self._fitted_to(control, task, variant):
                for draw in range(config.draws if control.is_drawn else 1):
                    needs, options = self._made_from(control, task, tasks, variant, draw)
                    yield Circuit(
                        name,
                        needs,
                        tasks,
                        variant if uses_settings else "",
                        draw,
                        config.n_attribution_pairs,
                        control.name,
                        options,
                        all_views=control.is_main and is_default and draw == 0,
                    )

    def _fitted_to(
        self, control: Control, task: str, variant: str
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Names of a control in tables, with its training tasks."""
        if not control.regimes:
            yield control.name, (task,) if Need.TARGET in control.needs else ()
        for regime in dict.fromkeys((Regime.ZERO_SHOT, *map(Regime, self.config.regimes))):
            if regime in control.regimes and self._is_measured(regime, variant):
                for tasks in self.config.train_tasks(regime, task):
                    yield control.name_in(regime), tasks

    def _made_from(
        self, control: Control, task: str, tasks: tuple[str, ...], variant: str, draw: int
    ) -> tuple[dict[str, Job], dict[str, Any]]:
        """The jobs that a control is built from, and its other inputs."""
        jobs, models, needs = self.jobs, self.jobs.pair, {}
        if Need.SCORES in control.needs:
            needs |= jobs.source_scores(task)
        if Need.ALIGNMENT in control.needs:
            needs |= jobs.alignments(tasks, variant, control if control.stand_in else None)
        for need, kind, model in (
            (Need.TRAINING_SCORES, "source", models.source),
            (Need.TRAINING_GOLD, "gold", models.target),
        ):
            if need in control.needs:
                needs |= {f"{kind}:{other}": jobs.attribute(model, other) for other in tasks}
        options = {
            "task": task,
            "train_tasks": list(tasks),
            "seed": seed_of("draw", jobs.seed, draw),
            "penalty": self.config.penalty,
            "config": jobs.settings_of(control, variant),
        }
        if Need.TARGET in control.needs:
            needs = {"made": jobs.control(control, tasks, needs, options)}
        return needs, options

    def _few_pairs(self, task: str) -> Iterator[Circuit]:
        config = self.config
        for draw in range(config.few_pairs_draws):
            for size in config.few_pairs_sizes:
                if size < config.n_attribution_pairs:
                    needs = {"made": self.jobs.few_pairs(task, draw, size)}
                    yield Circuit(FEW_PAIRS, needs, (task,), draw=draw, pairs=size)
