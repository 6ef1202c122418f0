"""`plan`: from a `StudyConfig` to its jobs, in an order in which needs come first.

One group per pair, method and seed: source and gold scores, every W, every control, and one
`evaluate` job per test task that measures all circuits of the task together. Another group holds
what needs no source scores (`none` for the method): uniform s, random s and target-only.
Equal jobs of different regimes are one job: the W of near-distribution is the in-distribution one
of the related task.

A control is trained on the tasks that W is: `uniform_s` is zero-shot's, and every other regime but
cross-task has its own, `uniform_s (in-distribution)` and so on. What the source accounts for in a
regime is the difference from that one; else having seen the test task would be credited to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dfa_tl.study.circuits import Circuit, seed_of
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.job_maker import JobMaker
from dfa_tl.study.jobs import Group, Job

WITHOUT_SOURCE = ("uniform_s", "random_s", "target_only")
ALL_VIEWS = ("random_W", "target_only", "depth_mean", "depth_mean_paper")


def uniform_s_of(regime: str) -> str:
    """The uniform-s control that is trained on the tasks of a regime."""
    return "uniform_s" if regime == "zero-shot" else f"uniform_s ({regime})"


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
    methods = dict.fromkeys((*config.methods, *config.worth_methods))
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
        if self.jobs.method == "none":
            yield from self._without_source(task)
            return
        if self.jobs.method in self.config.methods:
            gold = {"scores": self.jobs.attribute(self.jobs.pair.target, task)}
            pairs = self.config.n_attribution_pairs
            yield Circuit("gold", "scores", gold, (task,), pairs=pairs, all_views=True)
            yield from self._regimes(task)
            yield from self._controls(task)
        if self.jobs.method in self.config.worth_methods:
            yield from self._few_pairs(task)

    def _train_tasks(self, regime: str, task: str) -> list[tuple[str, ...]]:
        others = tuple(other for other in self.config.tasks if other != task)
        trained = {
            "in-distribution": [(task,)],
            "near-distribution": [self.config.related[task]],
            "zero-shot": [others],
            "all": [self.config.tasks],
            "cross-task": [(other,) for other in self.config.tasks],
        }
        return [tasks for tasks in trained[regime] if tasks]

    def _regimes(self, task: str) -> Iterator[Circuit]:
        headline = next(iter(self.config.variants))
        for variant in self.config.variants:
            for regime in self.config.regimes:
                if variant != headline and regime not in ("in-distribution", "zero-shot"):
                    continue
                for tasks in self._train_tasks(regime, task):
                    views = variant == headline and regime != "cross-task"
                    needs = self.jobs.alignments(tasks, variant) | self.jobs.source_scores(task)
                    yield self._circuit(regime, "transfer", needs, tasks, variant, views=views)
            # What W keeps of the source's structure before training, to compare with after it.
            if "untrained_W" in self.config.controls and len(self.jobs.pair.steps) == 1:
                needs = self.jobs.source_scores(task)
                options = {"config": self.jobs.untrained(variant)}
                yield self._circuit("untrained_W", "untrained_W", needs, (), variant, options)

    def _controls(self, task: str) -> Iterator[Circuit]:
        config = self.config
        variant = next(iter(config.variants))
        others = tuple(other for other in config.tasks if other != task)
        scores = self.jobs.source_scores(task)
        wanted = [name for name in config.controls if name not in WITHOUT_SOURCE]
        for name in ("depth_mean", "depth_mean_paper"):
            if name in wanted:
                yield self._circuit(name, name, scores, (), "")
        for draw in range(config.draws):
            seed = seed_of("draw", self.jobs.seed, draw)
            if "random_W" in wanted:
                options = {"seed": seed}
                yield self._circuit("random_W", "random_W", scores, (), "", options, draw)
            for name, key in (("scrambled_s", "scrambled"), ("permuted_W", "permuted")):
                if name in wanted and others:
                    needs = self.jobs.alignments(others, variant) | scores
                    yield self._circuit(name, "transfer", needs, others, variant, {key: seed}, draw)
        if not others:
            return
        gold = {
            f"gold:{other}": self.jobs.attribute(self.jobs.pair.target, other) for other in others
        }
        if "mean_gold" in wanted:
            yield self._circuit("mean_gold", "mean_gold", gold, others, "")
        if "regression" in wanted:
            known = {
                f"source:{other}": self.jobs.attribute(self.jobs.pair.source, other)
                for other in others
            }
            options = {"penalty": config.penalty}
            needs = scores | gold | known
            yield self._circuit("regression", "regression", needs, others, "", options)

    def _without_source(self, task: str) -> Iterator[Circuit]:
        config = self.config
        others = tuple(other for other in config.tasks if other != task)
        headline = next(iter(config.variants))
        if "target_only" in config.controls:
            needs = {"scores": self.jobs.target_only(task)}
            yield self._circuit("target_only", "scores", needs, (task,), "")
        if "uniform_s" in config.controls:
            yield from self._uniform_s(task)
        if others and "random_s" in config.controls:
            needs = self.jobs.alignments(others, headline, constant="random")
            options = {"random": seed_of("random_s", self.jobs.seed, task)}
            yield self._circuit("random_s", "transfer", needs, others, headline, options)

    def _uniform_s(self, task: str) -> Iterator[Circuit]:
        headline = next(iter(self.config.variants))
        regimes = dict.fromkeys(("zero-shot", *self.config.regimes))
        for variant in self.config.variants:
            for regime in regimes:
                if regime == "cross-task":
                    continue
                if variant != headline and regime not in ("in-distribution", "zero-shot"):
                    continue
                for tasks in self._train_tasks(regime, task):
                    needs = self.jobs.alignments(tasks, variant, constant="uniform")
                    options, views = {"uniform": 1}, variant == headline
                    name = uniform_s_of(regime)
                    yield self._circuit(
                        name, "transfer", needs, tasks, variant, options, views=views
                    )

    def _few_pairs(self, task: str) -> Iterator[Circuit]:
        config = self.config
        for draw in range(config.worth_draws):
            for size in config.worth_pairs:
                if size >= config.n_attribution_pairs:
                    continue
                needs = {"scores": self.jobs.few_pairs(task, draw, size)}
                yield Circuit("few-pairs", "scores", needs, (task,), draw=draw, pairs=size)

    def _circuit(
        self,
        name: str,
        recipe: str,
        needs: Mapping[str, Job],
        tasks: tuple[str, ...],
        variant: str,
        options: Mapping[str, Any] | None = None,
        draw: int = 0,
        views: bool = True,
    ) -> Circuit:
        return Circuit(
            name,
            recipe,
            dict(needs),
            tasks,
            variant,
            draw,
            self.config.n_attribution_pairs,
            options or {},
            all_views=views
            and draw == 0
            and (recipe == "transfer" or name in ALL_VIEWS)
            and name not in ("scrambled_s", "permuted_W", "random_s"),
        )
