"""`plan`: from a `StudyConfig` to its jobs, in an order in which needs come first.

For each pair of models, method and seed there are source and gold scores, every W, every control,
and one `EvaluateJob` per test task that measures all circuits of the task together. The controls
that do not depend on attributed scores are planned once, for the method `none`. Equal jobs are one
job: the W of near-distribution is the in-distribution one of the related task, and masks that are
trained on the target alone serve the controls of every method.

A control that belongs to regimes is trained on the same tasks as W: `uniform_s` is zero-shot's, and
every other regime but cross-task has its own, `uniform_s (in-distribution)` and so on. The
difference from that one is what the source accounts for in a regime; otherwise having seen the test
task would be credited to the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.controls.control import Control, Need
from dfa_tl.controls.regimes import FEW_PAIRS, GOLD, Regime
from dfa_tl.controls.registry import CONTROLS, FREE_MASK, RANDOM
from dfa_tl.seeds import seed_of
from dfa_tl.study.config import PairSpec, StudyConfig
from dfa_tl.study.control_job import ControlInputs, ControlJob
from dfa_tl.study.evaluate_job import JOB_VERSIONS, Circuit, EvaluateJob, Transfer
from dfa_tl.study.inputs import ModelSpec, Sample
from dfa_tl.study.job import Job, with_needs
from dfa_tl.study.jobs import (
    AlignJob,
    AttributeJob,
    Bootstrapped,
    FewPairs,
)
from dfa_tl.study.keys import CircuitKey

IN_EVERY_VARIANT = (Regime.IN_DISTRIBUTION, Regime.ZERO_SHOT)
"""The regimes under every alignment setting; the others are measured under the first only."""
NO_METHOD = "none"


def plan(
    config: StudyConfig,
    model_hashes: Mapping[str, str],
    data_hashes: Mapping[str, Mapping[str, str]],
    job_versions: Mapping[str, int] = JOB_VERSIONS,
) -> tuple[Job, ...]:
    """All jobs of a study, each once.

    Args:
        config: The study.
        model_hashes: Of each model that its pairs name.
        data_hashes: Of each split of each task that is not generated.
        job_versions: The version of each kind of job; this package's by default.
    """
    methods = dict.fromkeys((*config.methods, *config.few_pairs_methods))
    planners = (
        _Planner(config, pair, method, seed, model_hashes, data_hashes, job_versions)
        for pair in config.pairs
        for seed in config.seeds
        for method in (NO_METHOD, *methods)
    )
    return tuple(with_needs(job for each in planners for job in each.evaluations()).values())


@dataclass(frozen=True)
class _Planner:
    """Plans the jobs of one pair of models, method and seed."""

    config: StudyConfig
    pair: PairSpec
    method: str
    seed: int
    model_hashes: Mapping[str, str]
    data_hashes: Mapping[str, Mapping[str, str]]
    job_versions: Mapping[str, int]

    def evaluations(self) -> Iterator[EvaluateJob]:
        """One job for each task of which circuits are measured."""
        for task in self.config.tasks:
            if circuits := tuple(self._circuits(task)):
                yield self._evaluate(task, circuits)

    # Circuits

    def _circuits(self, task: str) -> Iterator[Circuit]:
        config = self.config
        if self.method in config.methods:
            key = CircuitKey(GOLD, "", (task,), config.n_attribution_pairs)
            yield Circuit(key, self._attribute(self.pair.target, task), all_views=True)
            yield from self._regimes(task)
        if self.method in (NO_METHOD, *config.methods):
            for name in config.controls:
                if CONTROLS[name].depends_on_method == (self.method != NO_METHOD):
                    yield from self._control(CONTROLS[name], task)
        if self.method in config.few_pairs_methods:
            yield from self._few_pairs(task)

    def _regimes(self, task: str) -> Iterator[Circuit]:
        config = self.config
        for variant in config.variants:
            for regime in map(Regime, config.regimes):
                if not self._is_measured(regime, variant):
                    continue
                for tasks in config.train_tasks(regime, task):
                    scores = self._attribute(self.pair.source, task)
                    yield Circuit(
                        CircuitKey(regime.value, variant, tasks, config.n_attribution_pairs),
                        Transfer(self._alignments(tasks, variant), scores),
                        all_views=variant == config.default_variant
                        and regime is not Regime.CROSS_TASK,
                    )

    def _is_measured(self, regime: Regime, variant: str) -> bool:
        return variant == self.config.default_variant or regime in IN_EVERY_VARIANT

    def _control(self, control: Control, task: str) -> Iterator[Circuit]:
        config = self.config
        if len(self.pair.steps) > 1 and not control.takes_chains:
            return
        for variant in config.variants:
            is_default = variant == config.default_variant
            if not (is_default or control.every_variant):
                continue
            uses_settings = control.every_variant or Need.ALIGNMENT in control.needs
            for name, tasks in self._fitted_to(control, task, variant):
                for draw in range(self._draws(control)):
                    inputs = self._control_inputs(control, task, tasks, variant, draw)
                    yield Circuit(
                        CircuitKey(
                            name,
                            variant if uses_settings else "",
                            tasks,
                            config.n_attribution_pairs,
                            draw,
                        ),
                        self._train_control(inputs) if Need.TARGET in control.needs else inputs,
                        all_views=control.is_main and is_default and draw == 0,
                    )

    def _draws(self, control: Control) -> int:
        if control is RANDOM:
            return self.config.random_draws
        return self.config.draws if control.is_drawn else 1

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

    def _control_inputs(
        self, control: Control, task: str, tasks: tuple[str, ...], variant: str, draw: int
    ) -> ControlInputs:
        needs, models = control.needs, self.pair

        def training(need: Need, model: str) -> dict[str, AttributeJob]:
            return {other: self._attribute(model, other) for other in tasks if need in needs}

        masks = {
            other: self._train_control(
                self._control_inputs(FREE_MASK, other, (other,), variant, draw=0)
            )
            for other in tasks
            if Need.TRAINING_MASKS in needs
        }
        return ControlInputs(
            control=control.name,
            task=task,
            train_tasks=tasks,
            seed=seed_of("draw", self.seed, draw),
            penalty=self.config.penalty,
            config=_for_training(self._settings(variant)),
            scores=self._attribute(models.source, task) if Need.SCORES in needs else None,
            alignments=self._alignments(tasks, variant, control) if Need.ALIGNMENT in needs else (),
            training_scores=training(Need.TRAINING_SCORES, models.source),
            training_gold=training(Need.TRAINING_GOLD, models.target),
            training_masks=masks,
        )

    def _few_pairs(self, task: str) -> Iterator[Circuit]:
        config = self.config
        for draw in range(config.few_pairs_draws):
            for size in config.few_pairs_sizes:
                if size < config.n_attribution_pairs:
                    yield Circuit(
                        CircuitKey(FEW_PAIRS, "", (task,), size, draw),
                        self._attribute(self.pair.target, task, FewPairs(draw, size)),
                    )

    # Jobs

    def _model(self, name: str) -> ModelSpec:
        config = self.config
        return ModelSpec(
            name, self.model_hashes[name], config.dtype, config.prepend_bos, config.device
        )

    def _sample(self, task: str, split: str, n: int | None, seed: int) -> Sample:
        return Sample(task, split, n, seed, self.data_hashes.get(task, {}).get(split))

    def _training_data(self, tasks: tuple[str, ...]) -> tuple[Sample, ...]:
        pairs = self.config.train_pairs
        n = None if isinstance(pairs, str) else pairs
        return tuple(self._sample(task, "train", n, self.seed) for task in tasks)

    def _settings(self, variant: str) -> AlignmentConfig:
        return replace(self.config.variants[variant], seed=self.seed)

    def _attribute(
        self, model: str, task: str, drawn: FewPairs | Bootstrapped | None = None
    ) -> AttributeJob:
        config = self.config
        return AttributeJob(
            version=self.job_versions[AttributeJob.kind],
            model=self._model(model),
            data=self._sample(task, "train", config.n_attribution_pairs, self.seed),
            drawn=drawn,
            method=self.method,
            ig_steps=config.ig_steps,
            ablation=config.ablation,
            batch_size=config.batch_size,
        )

    def _alignments(
        self, tasks: tuple[str, ...], variant: str, control: Control | None = None
    ) -> tuple[AlignJob, ...]:
        """W of each step of the pair, trained on `tasks`.

        A control with a stand-in for source scores needs only the last W: it is tested on what it
        was trained with, not on what an earlier W makes of that.
        """
        settings = self._settings(variant)
        if control is not None:
            settings = replace(settings, **control.settings)
        stand_in = control.name if control and control.stand_in else None
        vectors = settings.source_vectors
        draws = [None] if vectors == 1 else [Bootstrapped(vector) for vector in range(vectors)]
        return tuple(
            AlignJob(
                version=self.job_versions[AlignJob.kind],
                source=self._model(source),
                target=self._model(target),
                data=self._training_data(tasks),
                config=_for_training(settings),
                scores={
                    task: tuple(self._attribute(source, task, drawn) for drawn in draws)
                    for task in tasks
                    if stand_in is None
                },
                stand_in=stand_in,
            )
            for source, target in (self.pair.steps[-1:] if stand_in else self.pair.steps)
        )

    def _train_control(self, inputs: ControlInputs) -> ControlJob:
        return ControlJob(
            version=self.job_versions[ControlJob.kind],
            inputs=inputs,
            target=self._model(self.pair.target),
            data=self._training_data(inputs.train_tasks),
        )

    def _evaluate(self, task: str, circuits: tuple[Circuit, ...]) -> EvaluateJob:
        """All circuits of one test task, measured together."""
        config = self.config
        has_gold = self.method in config.methods
        return EvaluateJob(
            version=self.job_versions[EvaluateJob.kind],
            pair=self.pair.name,
            target=self._model(self.pair.target),
            data=self._sample(task, config.test_split, config.test_pairs, config.test_seed),
            method=self.method,
            seed=self.seed,
            circuits=circuits,
            gold=self._attribute(self.pair.target, task) if has_gold else None,
            views=config.views,
            grids=config.grids,
            ablation=config.ablation,
            level=config.level,
            resamples=config.resamples,
            batch_size=config.batch_size,
        )


def _for_training(settings: AlignmentConfig) -> AlignmentConfig:
    """Settings without the number of source vectors, which shows in the jobs that W needs."""
    return replace(settings, source_vectors=1)
