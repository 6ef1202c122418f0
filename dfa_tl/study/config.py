"""`StudyConfig`: what a study compares. Frozen, checked when built, the same in YAML and Python.

A regime is what W is trained on before it carries over the circuit of a test task; see
`dfa_tl.controls.regimes`. Near-distribution trains on the related tasks of `relations` and skips a
task that has none; cross-task is the whole matrix, whose diagonal is in-distribution.

A seed draws the train pairs, the initialisation and batch order of W and every control. Test pairs
are the same for all seeds (`test_seed`), so circuits of different seeds can be paired.

Views: the first protocol, ranking, grid and metric are the headline's. Everything is measured on
every grid; the other protocols, rankings and metrics are varied one at a time, and only for gold,
the regimes and the main controls, to show how much the choice matters.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.arguments import checked_arguments
from dfa_tl.attribution.registry import METHODS
from dfa_tl.controls.regimes import Regime
from dfa_tl.controls.registry import CONTROLS
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import LINEAR_KS, MIB_KS
from dfa_tl.evaluation.intervals import Bootstrap
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.models.ablation import Ablation
from dfa_tl.models.placement import dtype_name
from dfa_tl.settings import (
    AUTO,
    DTYPES,
    check_choice,
    check_names,
    check_number,
    check_seed,
    check_switch,
    check_whole,
    choices,
    listed,
    names,
    read_yaml,
    seeds,
    whole_numbers,
)
from dfa_tl.study.keys import PairSpec, View
from dfa_tl.tasks import TASKS, TOY_TASKS
from dfa_tl.tasks.metrics import METRICS
from dfa_tl.tasks.registry import check_task, relations

GRIDS: dict[str, tuple[float, ...]] = {
    "linear": LINEAR_KS,
    "coarse": LINEAR_KS[::2],
    "mib": MIB_KS,
}
# Registries as they are when a study is checked: more may be registered at any time.
CHOICES: dict[str, Collection[str]] = {
    "methods": METHODS,
    "regimes": tuple(map(str, Regime)),
    "controls": CONTROLS,
    "few_pairs_methods": METHODS,
    "protocols": ("nodes", "mib"),
    "rankings": ("signed", "absolute"),
    "grids": GRIDS,
    "metrics": METRICS,
}
_MAY_BE_EMPTY = ("controls", "few_pairs_methods")


@dataclass(frozen=True)
class StudyConfig:
    """Everything that decides a study's results.

    Attributes:
        pairs: Pairs of models; the reverse direction is just another pair.
        tasks: Tasks to train and test on, by the names that `load_task` takes: generated ones, the
            benchmark's (`mib/ioi`), or folders of pairs (`./my_task`).
        methods: Attribution methods of source and gold scores.
        regimes: See above.
        controls: Names in `dfa_tl.controls.CONTROLS`; by default all that are registered.
        seeds: Each repeats everything but the test pairs.
        train_pairs: Pairs per task that W, and a free mask, is trained on; `all` for every pair of
            the train split that the target's tokenizer leaves usable. A generated task has no end,
            so there it must be a number.
        attribution_pairs: Pairs per task that scores are attributed on, gold ones too: the first of
            those for training. None for as many as `train_pairs`.
        test_pairs: Pairs per task that circuits are measured on.
        test_split: `test`, or `validation` to choose settings.
        test_seed: Which sample of the test split.
        draws: Draws per seed of each random control; one row each.
        random_draws: Draws per seed of the random W, whose spread is the band of chance.
        few_pairs_methods: Methods of the gold circuits from few pairs, which show how many target
            pairs a transfer is worth. None by default: they are most of a study's jobs.
        few_pairs_sizes: Their sizes; those below `attribution_pairs` are used.
        few_pairs_draws: Their draws per seed, each a nested sequence of pairs.
        variants: Settings of `align` by name. The first is the headline's, with all regimes and
            controls; the others add rows for in-distribution and zero-shot.
        protocols, rankings, grids, metrics: Views; the first of each is the headline's.
        relations: Related tasks, for near-distribution.
        ig_steps: Steps of integrated gradients.
        ablation: What a left-out node becomes, in attribution and evaluation.
        penalty: Ridge penalty of the regression control.
        batch_size: Pairs per run in attribution and evaluation.
        level: Confidence level of the intervals.
        resamples: Number of bootstrap resamples.
        dtype: Precision of the models' weights: `float32`, `bfloat16`, `float16` or `float64`.
            `auto` is replaced by what `load_model` chooses on the machine where the settings are
            made; name the type where workers have other hardware.
        prepend_bos: Whether prompts of all models begin with a BOS, as `load_model` takes it; None
            for the default of each model and task.
        device: Where models are loaded; None for a GPU when there is one. It is no part of what
            identifies a result.

    Raises:
        ConfigError: a value of another type than its field, or one that makes no sense.
    """

    pairs: tuple[PairSpec, ...]
    tasks: tuple[str, ...] = TOY_TASKS
    methods: tuple[str, ...] = ("nap-ig-inputs",)
    regimes: tuple[str, ...] = tuple(map(str, Regime))
    controls: tuple[str, ...] = field(default_factory=lambda: tuple(CONTROLS))
    seeds: tuple[int, ...] = (0,)
    train_pairs: int | Literal["all"] = 96
    attribution_pairs: int | None = None
    test_pairs: int = 64
    test_split: str = "test"
    test_seed: int = 0
    draws: int = 3
    random_draws: int = 20
    few_pairs_methods: tuple[str, ...] = ()
    few_pairs_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    few_pairs_draws: int = 3
    variants: Mapping[str, AlignmentConfig] = field(
        default_factory=lambda: {"default": AlignmentConfig()}
    )
    protocols: tuple[str, ...] = ("nodes",)
    rankings: tuple[str, ...] = ("signed",)
    grids: tuple[str, ...] = ("linear", "mib")
    metrics: tuple[str, ...] = ("logit_diff",)
    relations: Mapping[str, tuple[str, ...]] = field(default_factory=relations)
    ig_steps: int = 5
    ablation: str = "counterfactual"
    penalty: float = 1.0
    batch_size: int = 32
    level: float = 0.95
    resamples: int = 1000
    dtype: str = "float32"
    prepend_bos: bool | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", _pairs(self.pairs))
        object.__setattr__(self, "tasks", names("tasks", self.tasks))
        for task in self.tasks:
            check_task(task)
        for name, known in CHOICES.items():
            chosen = choices(name, getattr(self, name), known, may_be_empty=name in _MAY_BE_EMPTY)
            object.__setattr__(self, name, chosen)
        object.__setattr__(self, "regimes", tuple(map(str, self.regimes)))
        object.__setattr__(self, "seeds", seeds("seeds", self.seeds))
        sizes = whole_numbers("few_pairs_sizes", self.few_pairs_sizes, may_be_empty=True)
        object.__setattr__(self, "few_pairs_sizes", sizes)
        wholes = "test_pairs draws random_draws few_pairs_draws ig_steps batch_size resamples"
        for name in wholes.split():
            check_whole(name, getattr(self, name), 1)
        self._check_pairs()
        check_seed("test_seed", self.test_seed)
        check_choice("ablation", self.ablation, get_args(Ablation))
        check_choice("test_split", self.test_split, ("test", "validation"))
        check_number("penalty", self.penalty, above=0)
        check_number("level", self.level, above=0, below=1)
        check_choice("dtype", self.dtype, (*DTYPES, AUTO))
        # A result is identified by the precision itself, wherever it is looked up later.
        object.__setattr__(self, "dtype", dtype_name(self.dtype, self.device))
        check_switch("prepend_bos", self.prepend_bos)
        if self.device is not None and not isinstance(self.device, str):
            raise ConfigError(f"device={self.device!r}: must be a name such as 'cuda:1', or None")
        for method in (*self.methods, *self.few_pairs_methods):
            METHODS[method].check_ablation(self.ablation)
        Bootstrap(self.level, self.resamples)  # refuses too few resamples for the level
        self._check_variants()
        object.__setattr__(self, "relations", _relations(self.relations))
        if not any(map(self.is_possible, self.regimes)):
            raise ConfigError(
                f"regimes {', '.join(self.regimes)}: none can be trained on the tasks "
                f"{', '.join(self.tasks)}; leave-task-out needs two, zero-shot two of "
                "different families, near-distribution a related one"
            )

    def _check_pairs(self) -> None:
        if self.attribution_pairs is not None:
            check_whole("attribution_pairs", self.attribution_pairs, 1, ", or None for train_pairs")
        if not isinstance(self.train_pairs, str) or self.train_pairs != "all":
            check_whole("train_pairs", self.train_pairs, 1, ", or 'all'")
            return
        if self.attribution_pairs is None:
            raise ConfigError(
                "train_pairs='all' trains W on whole splits, but scores are attributed on a number "
                "of pairs: give attribution_pairs (the paper takes 100)"
            )
        if generated := [task for task in self.tasks if task in TASKS]:
            raise ConfigError(
                f"train_pairs='all': {generated[0]!r} is generated without end; give a number"
            )

    @property
    def n_attribution_pairs(self) -> int:
        """How many pairs per task scores are attributed on."""
        pairs = self.train_pairs if self.attribution_pairs is None else self.attribution_pairs
        assert pairs != "all", "checked when the study is built"
        return pairs

    def _check_variants(self) -> None:
        if not isinstance(self.variants, Mapping) or not all(
            isinstance(name, str) and isinstance(settings, AlignmentConfig)
            for name, settings in self.variants.items()
        ):
            raise ConfigError(
                f"variants: expected settings of align by name, got {self.variants!r}"
            )
        object.__setattr__(self, "variants", dict(self.variants))
        if not self.variants:
            raise ConfigError("variants: give at least one alignment setting")
        if any(value.seed != 0 for value in self.variants.values()):
            raise ConfigError("variants: the seed is the study's (seeds=...); leave theirs at 0")

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models, each once."""
        return tuple(dict.fromkeys(name for pair in self.pairs for name in pair.models))

    @property
    def views(self) -> tuple[View, ...]:
        """The headline's view, and those that differ from it in one thing."""
        first = View(self.protocols[0], self.rankings[0], self.metrics[0])
        return (
            first,
            *(first._replace(protocol=name) for name in self.protocols[1:]),
            *(first._replace(ranking=name) for name in self.rankings[1:]),
            *(first._replace(metric=name) for name in self.metrics[1:]),
        )

    @property
    def related(self) -> dict[str, tuple[str, ...]]:
        """Related tasks among the study's own."""
        return {
            task: tuple(other for other in self.relations.get(task, ()) if other in self.tasks)
            for task in self.tasks
        }

    @checked_arguments
    def train_tasks(self, regime: str, task: str) -> list[tuple[str, ...]]:
        """The tasks that each W of a test task is trained on in a regime."""
        check_choice("regime", regime, tuple(map(str, Regime)))
        check_choice("task", task, self.tasks)
        return Regime(regime).train_tasks(task, self.tasks, self.related)

    @checked_arguments
    def is_possible(self, regime: str) -> bool:
        """Whether a regime has tasks to train on for at least one test task."""
        return any(self.train_tasks(regime, task) for task in self.tasks)

    @property
    def default_variant(self) -> str:
        """Name of the headline's alignment settings, the first ones."""
        return next(iter(self.variants))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON-able values."""
        return json.loads(json_bytes(asdict(self), "a study's settings", sort_keys=False))

    @classmethod
    @checked_arguments
    def from_dict(cls, settings: Mapping[str, Any]) -> StudyConfig:
        """The study with these settings; `ConfigError` names those that are unknown."""
        check_names(settings, cls, "a study")
        if "pairs" not in settings:
            raise ConfigError("a study needs pairs: a list of {source: .., target: ..}")
        return cls(**{name: _read(name, value) for name, value in settings.items()})

    @classmethod
    @checked_arguments
    def from_yaml(cls, path: str | Path) -> StudyConfig:
        """The study that a YAML file describes.

        Raises:
            FileFormatError: a file that cannot be read, or holds no settings.
            ConfigError: settings that are unknown or make no sense.
        """
        return cls.from_dict(read_yaml(path))


def _pairs(given: Any) -> tuple[PairSpec, ...]:
    pairs = listed(given)
    if isinstance(given, PairSpec) or not all(isinstance(pair, PairSpec) for pair in pairs):
        raise ConfigError(f"pairs: expected PairSpec(source, target) in a list, got {given!r}")
    if not pairs or len(set(pairs)) < len(pairs):
        raise ConfigError("pairs: give at least one pair, each once")
    return pairs


def _relations(given: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"relations: expected related tasks by task, got {given!r}")
    relations = {task: names("relations", of, may_be_empty=True) for task, of in given.items()}
    for task, others in relations.items():
        for name in names("relations", (task, *others)):
            check_task(name)
    return relations


def _read(name: str, given: Any) -> Any:
    """A setting as `StudyConfig` takes it, from the plain values of a file."""
    if name == "pairs" and isinstance(given, list):
        return tuple(map(_pair, given))
    if name == "variants" and isinstance(given, Mapping):
        return {str(variant): _alignment(variant, settings) for variant, settings in given.items()}
    if name == "relations" and isinstance(given, Mapping):
        return {task: listed(others) for task, others in given.items()}
    if name in ("tasks", *CHOICES, "seeds", "few_pairs_sizes"):
        return listed(given)
    return given


def _pair(given: Any) -> PairSpec:
    try:
        return PairSpec(**{**given, "via": listed(given.get("via", ()))})
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"a pair is {{source: .., target: ..}}, got {given!r}") from error


def _alignment(variant: Any, given: Any) -> AlignmentConfig:
    settings = {} if given is None else given
    if not isinstance(settings, Mapping):
        raise ConfigError(f"variants: {variant!r} must hold settings of align, got {given!r}")
    check_names(settings, AlignmentConfig, "align")
    try:
        return AlignmentConfig(**settings)
    except ConfigError as error:
        raise ConfigError(f"variants: {variant!r}: {error}") from error
