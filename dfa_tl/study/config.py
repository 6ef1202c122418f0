"""`StudyConfig`: what a study compares. Frozen, checked when built, the same in YAML and Python.

Regimes, by what W is trained on before it carries over the circuit of a test task:

    in-distribution     the test task itself
    near-distribution   its related tasks (`relations`); none for a task without relatives
    zero-shot           every task but the test task
    all                 every task
    cross-task          each task alone: the whole matrix, of which in-distribution is the diagonal

A seed draws the train pairs, the initialisation and batch order of W and every control. Test pairs
are the same for all seeds (`test_seed`), so circuits of different seeds can be paired.

Views: the first protocol, ranking, grid and metric are the headline's. Everything is measured on
every grid; the other protocols, rankings and metrics are varied one at a time, and only for gold,
the regimes and the main controls, to show what hangs on the choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.attribution.attribute import METHODS
from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.evaluation.grids import LINEAR_KS, MIB_KS
from dfa_tl.models.ablation import check_ablation
from dfa_tl.tasks import TASKS
from dfa_tl.tasks.metrics import METRICS
from dfa_tl.tasks.registry import check_task

REGIMES = ("in-distribution", "near-distribution", "zero-shot", "all", "cross-task")
CONTROLS = (
    "random_W",
    "scrambled_s",
    "permuted_W",
    "depth_mean",
    "uniform_s",
    "random_s",
    "target_only",
    "regression",
    "mean_gold",
)
GRIDS: dict[str, tuple[float, ...]] = {"linear": LINEAR_KS, "mib": MIB_KS}
RELATIONS: dict[str, tuple[str, ...]] = {
    f"{prefix}{task}": (f"{prefix}{other}",)
    for prefix in ("", "mib/")
    for one, two in (
        ("arithmetic_addition", "arithmetic_subtraction"),
        ("arc_easy", "arc_challenge"),
    )
    for task, other in ((one, two), (two, one))
}
CHOICES: dict[str, tuple[str, ...]] = {
    "methods": tuple(METHODS),
    "regimes": REGIMES,
    "controls": CONTROLS,
    "worth_methods": tuple(METHODS),
    "protocols": ("nodes", "mib"),
    "rankings": ("signed", "absolute"),
    "grids": tuple(GRIDS),
    "metrics": tuple(METRICS),
}
_MAY_BE_EMPTY = ("controls", "worth_methods", "worth_pairs")


@dataclass(frozen=True)
class PairSpec:
    """A source and a target model, by the names or folders that `load_model` takes.

    Attributes:
        source: Model whose circuits are known.
        target: Model that they are carried over to.
        via: Models in between: W is trained for each step and the steps are composed.
    """

    source: str
    target: str
    via: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "via", tuple(self.via))
        models = (self.source, *self.via, self.target)
        if not all(isinstance(model, str) and model for model in models):
            raise ConfigError(f"a pair needs the names of its models, got {models}")

    @property
    def name(self) -> str:
        """`source -> target`, with the models in between."""
        return " -> ".join((self.source, *self.via, self.target))

    @property
    def steps(self) -> tuple[tuple[str, str], ...]:
        """Source and target of each W."""
        models = (self.source, *self.via, self.target)
        return tuple(pairwise(models))


@dataclass(frozen=True)
class StudyConfig:
    """Everything that decides a study's results.

    Attributes:
        pairs: Pairs of models; the reverse direction is just another pair.
        tasks: Tasks to train and test on, by the names that `load_task` takes: generated ones, the
            benchmark's (`mib/ioi`), or folders of pairs (`./my_task`).
        methods: Attribution methods of source and gold scores.
        regimes: See above.
        controls: See `dfa_tl.alignment.controls`; those that are trained, and `regression` and
            `mean_gold`, are fitted on every task but the test task, as zero-shot is.
        seeds: Each repeats everything but the test pairs.
        train_pairs: Pairs per task that scores and W are fitted to.
        test_pairs: Pairs per task that circuits are measured on.
        test_split: `test`, or `validation` to choose settings.
        test_seed: Which sample of the test split.
        draws: Draws per seed of each random control; one row each.
        worth_methods: Methods of the gold circuits from few pairs.
        worth_pairs: Their sizes; those below `train_pairs` are used.
        worth_draws: Their draws per seed, each a nested sequence of pairs.
        variants: Settings of `align` by name. The first is the headline's, with all regimes and
            controls; the others add rows for in-distribution and zero-shot.
        protocols, rankings, grids, metrics: Views; the first of each is the headline's.
        relations: Related tasks, for near-distribution.
        ig_steps: Steps of integrated gradients.
        ablation: What a left-out node becomes, in attribution and evaluation.
        penalty: Of the ridge regression.
        batch_size: Pairs per run in attribution and evaluation.
        level: Confidence level of the intervals.
        resamples: Of the bootstrap.
        dtype: Precision of the models' weights: `float32`, `bfloat16` or `float16`.
        device: Where models are loaded; None for a GPU when there is one. It is no part of what
            identifies a result.

    Raises:
        ConfigError: a value that makes no sense.
    """

    pairs: tuple[PairSpec, ...]
    tasks: tuple[str, ...] = TASKS
    methods: tuple[str, ...] = ("nap-ig-inputs",)
    regimes: tuple[str, ...] = REGIMES
    controls: tuple[str, ...] = CONTROLS
    seeds: tuple[int, ...] = (0,)
    train_pairs: int = 96
    test_pairs: int = 64
    test_split: str = "test"
    test_seed: int = 0
    draws: int = 3
    worth_methods: tuple[str, ...] = ("nap", "nap-ig-inputs")
    worth_pairs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    worth_draws: int = 3
    variants: Mapping[str, AlignmentConfig] = field(
        default_factory=lambda: {"default": AlignmentConfig()}
    )
    protocols: tuple[str, ...] = ("nodes",)
    rankings: tuple[str, ...] = ("signed",)
    grids: tuple[str, ...] = ("linear", "mib")
    metrics: tuple[str, ...] = ("logit_diff",)
    relations: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(RELATIONS))
    ig_steps: int = 5
    ablation: str = "counterfactual"
    penalty: float = 1.0
    batch_size: int = 32
    level: float = 0.95
    resamples: int = 1000
    dtype: str = "float32"
    device: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.pairs, (PairSpec, str)):
            raise ConfigError("pairs is a list of pairs, [PairSpec(source, target)]")
        if not all(isinstance(pair, PairSpec) for pair in self.pairs):
            raise ConfigError(f"pairs: expected PairSpec(source, target), got {self.pairs!r}")
        object.__setattr__(self, "pairs", tuple(self.pairs))
        object.__setattr__(self, "tasks", _several("tasks", self.tasks))
        for task in self.tasks:
            check_task(task)
        for name, known in CHOICES.items():
            object.__setattr__(self, name, _chosen(name, getattr(self, name), known))
        for name in ("seeds", "worth_pairs"):
            object.__setattr__(self, name, _whole_numbers(name, getattr(self, name)))
        if not self.pairs or len(set(self.pairs)) < len(self.pairs):
            raise ConfigError("pairs: give at least one pair, each once")
        for name in (
            "train_pairs test_pairs draws worth_draws ig_steps batch_size resamples"
        ).split():
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}={value!r}: must be a whole number of at least 1")
        if self.test_split not in ("test", "validation"):
            raise ConfigError(f"test_split={self.test_split!r}: choose test or validation")
        if not self.penalty > 0 or not 0 < self.level < 1:
            raise ConfigError("penalty must be above 0, and level within (0, 1)")
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise ConfigError(f"dtype={self.dtype!r}: choose float32, bfloat16 or float16")
        check_ablation(self.ablation)
        self._check_variants()
        relations = {task: tuple(others) for task, others in self.relations.items()}
        object.__setattr__(self, "relations", relations)

    def _check_variants(self) -> None:
        if not self.variants:
            raise ConfigError("variants: give at least one alignment setting")
        if any(value.seed != 0 for value in self.variants.values()):
            raise ConfigError("variants: the seed is the study's (seeds=...); leave theirs at 0")

    @property
    def related(self) -> dict[str, tuple[str, ...]]:
        """Related tasks among the study's own."""
        return {
            task: tuple(other for other in self.relations.get(task, ()) if other in self.tasks)
            for task in self.tasks
        }

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON-able values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["pairs"] = [asdict(pair) | {"via": list(pair.via)} for pair in self.pairs]
        plain["variants"] = {name: asdict(value) for name, value in self.variants.items()}
        plain["relations"] = {task: list(others) for task, others in self.relations.items()}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()
        }

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> StudyConfig:
        """The study with these settings; `ConfigError` names those that are unknown."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ConfigError(f"unknown settings {unknown}; a study has {', '.join(known)}")
        if "pairs" not in settings:
            raise ConfigError("a study needs pairs: a list of {source: .., target: ..}")
        return cls(**{name: _read(name, value) for name, value in settings.items()})

    @classmethod
    def from_yaml(cls, path: str | Path) -> StudyConfig:
        """The study that a YAML file describes."""
        try:
            settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise FileFormatError(f"{path} cannot be read as YAML: {error}") from error
        if not isinstance(settings, dict):
            raise FileFormatError(f"{path} holds no settings; expected 'name: value' lines")
        return cls.from_dict(settings)


def _several(name: str, given: Any) -> tuple[str, ...]:
    values = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{name}: expected names, got {list(values)}")
    if len(set(values)) < len(values) or (not values and name not in _MAY_BE_EMPTY):
        raise ConfigError(f"{name}: give at least one value, each once, got {list(values)}")
    return values


def _chosen(name: str, given: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    chosen = _several(name, given)
    if unknown := [value for value in chosen if value not in known]:
        raise ConfigError(f"{name}: {unknown[0]!r} is unknown, choose among {', '.join(known)}")
    return chosen


def _whole_numbers(name: str, given: Any) -> tuple[int, ...]:
    numbers = (given,) if isinstance(given, int) else tuple(given)
    least = 0 if name == "seeds" else 1
    if not all(isinstance(number, int) and number >= least for number in numbers):
        raise ConfigError(f"{name}: expected whole numbers of at least {least}, got {given!r}")
    if len(set(numbers)) < len(numbers) or (not numbers and name not in _MAY_BE_EMPTY):
        raise ConfigError(f"{name}: give at least one value, each once, got {list(numbers)}")
    return numbers


def _read(name: str, given: Any) -> Any:
    """A setting as `StudyConfig` takes it, from the plain values of a file."""
    if name == "pairs" and isinstance(given, list):
        return tuple(map(_pair, given))
    if name == "variants" and isinstance(given, Mapping):
        return {str(variant): _alignment(settings) for variant, settings in given.items()}
    if name == "relations" and isinstance(given, Mapping):
        return {task: tuple(others) for task, others in given.items()}
    if isinstance(given, list) or name in ("tasks", *CHOICES, "seeds", "worth_pairs"):
        return tuple(given) if isinstance(given, list) else (given,)
    return given


def _pair(given: Any) -> PairSpec:
    try:
        via = given.get("via", ())
        return PairSpec(**{**given, "via": (via,) if isinstance(via, str) else tuple(via)})
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"a pair is {{source: .., target: ..}}, got {given!r}") from error


def _alignment(given: Any) -> AlignmentConfig:
    try:
        return AlignmentConfig(**(given or {}))
    except TypeError as error:
        raise ConfigError(f"variants: {error}") from error
