"""Doing one job: load what it needs from the store, compute, put the result into the store.

Models and tokenised pairs are kept in the process, so that a worker which does all jobs of a pair
loads the pair once.
"""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.train import align
from dfa_tl.attribution.attribute import attribute
from dfa_tl.attribution.registry import METHODS
from dfa_tl.controls.registry import CONTROLS
from dfa_tl.errors import ConfigError, DataError, ModelError
from dfa_tl.models.loading import load_model
from dfa_tl.models.node_model import NodeModel
from dfa_tl.passes import Passes, training_passes
from dfa_tl.scores import NodeScores
from dfa_tl.seeds import seed_of
from dfa_tl.study.circuits import EvaluateJob, control_inputs
from dfa_tl.study.data import sample
from dfa_tl.study.jobs import Job
from dfa_tl.study.measurement import measure
from dfa_tl.study.models import model_hashes
from dfa_tl.study.store import Store
from dfa_tl.study.versions import code_identity
from dfa_tl.tasks.pairs import PairDataset

MODELS_KEPT = 3
PACKAGES = ("torch", "transformer-lens", "transformers", "numpy", "scipy")


class Result(NamedTuple):
    """What a job made: how to write it, and what its manifest says."""

    write: Callable[[Path], None]
    facts: dict[str, Any]


def do(job: Job, store: Store) -> None:
    """Do a job and store its result.

    Raises:
        ConfigError: this process runs other code than the one that planned the job.
    """
    if job.code != code_identity():
        raise ConfigError(
            f"the job is for dfa_tl {job.code}, this process runs {code_identity()}: install the "
            "same code wherever a study works"
        )
    began = time.perf_counter()
    result = WORK[job.kind](job, store)
    facts = {**result.facts, "versions": _versions()}
    store.save(job, result.write, facts, time.perf_counter() - began)


@cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def load(job: Job, store: Store) -> NodeScores | Alignment:
    """What a job made. Raises `FileFormatError` for a result that is missing or altered."""
    folder = store.checked(job)
    if job.kind == "align":
        return Alignment.load(folder / "alignment.safetensors")
    return NodeScores.load(folder / "scores.safetensors")


class _Identity(NamedTuple):
    """What decides which model a job runs."""

    name: str
    hash: str
    dtype: str
    prepend_bos: bool | None
    device: str | None


@lru_cache(maxsize=MODELS_KEPT)
def _loaded(identity: _Identity) -> NodeModel:
    name, expected, dtype, prepend_bos, device = identity
    kind, _, commit = expected.partition(" ")
    revision = commit if kind == "commit" else None
    if revision is None and model_hashes([name])[name] != expected:
        raise ModelError(
            f"{name!r} is no longer the model that the study was started with; start it again, or "
            "put its files back"
        )
    return load_model(
        name,
        dtype=getattr(torch, dtype),
        device=device,
        revision=revision,
        prepend_bos=prepend_bos,
    )


def model_of(job: Job, role: str = "model") -> NodeModel:
    """The model that a job runs, loaded once per process."""
    return _loaded(_identity(job, role))


def _identity(job: Job, role: str) -> _Identity:
    settings = job.settings
    return _Identity(
        name=settings[role],
        hash=settings[f"{role}_hash"],
        dtype=settings[f"{role}_dtype"],
        prepend_bos=settings[f"{role}_prepend_bos"],
        device=job.machine["device"],
    )


@lru_cache(maxsize=128)
def _tokens_of(
    identity: _Identity,
    task: str,
    split: str,
    n: int | None,
    seed: int,
    expected: str | None,
) -> PairDataset:
    """`n` pairs of a task, or all, as one model's tokens, made once per process.

    The model is named, not given: what is kept here must not keep a model in memory.

    Raises:
        DataError: the data have changed, or fewer than `n` pairs suit the model's tokenizer.
    """
    model = _loaded(identity)
    pairs = sample(task, split, n, seed, expected).tokenize(model)
    if n is not None and len(pairs) < n:
        raise DataError(
            f"{task!r}: {n} {split} pairs were asked for, {len(pairs)} suit the tokenizer of "
            f"{model.name}; lower train_pairs, attribution_pairs or test_pairs, or leave the "
            "task out"
        )
    return PairDataset.from_tokens(
        pairs.clean, pairs.corrupt, pairs.answers, pairs.lengths, name=task
    )


def _train(job: Job, role: str, task: str) -> PairDataset:
    settings = job.settings
    expected = settings.get("data", {}).get(task)
    n = None if settings["train_pairs"] == "all" else settings["train_pairs"]
    return _tokens_of(_identity(job, role), task, "train", n, settings["seed"], expected)


def _attribute(job: Job, store: Store) -> Result:
    settings, model = job.settings, model_of(job)
    data = _train(job, "model", settings["task"])
    if job.kind == "few-pairs":
        # The first pairs in a random order: a larger draw contains the smaller ones.
        order = list(range(len(data)))
        random.Random(seed_of("draw", settings["seed"], settings["draw"])).shuffle(order)
        data = _chosen(data, order[: settings["pairs"]])
    elif job.kind == "bootstrapped":
        rng = random.Random(seed_of("vector", settings["seed"], settings["vector"]))
        data = _chosen(data, rng.choices(range(len(data)), k=len(data)))
    scores = attribute(
        model,
        data,
        settings["method"],
        ig_steps=settings["ig_steps"],
        ablation=settings["ablation"],
        batch_size=job.machine["batch_size"],
        progress=False,
    )
    passes = METHODS[settings["method"]].cost(
        model.nodes, settings["ig_steps"], settings["ablation"]
    )
    return Result(_scores_file(scores), passes.times(len(data)))


def _chosen(data: PairDataset, rows: list[int]) -> PairDataset:
    tokens = data.tokens
    assert tokens is not None
    return PairDataset.from_tokens(
        tokens.clean[rows], tokens.corrupt[rows], tokens.answers[rows], tokens.lengths[rows],
        name=tokens.name,
    )  # fmt: skip


def _align(job: Job, store: Store) -> Result:
    settings, target = job.settings, model_of(job, "target")
    tasks = settings["tasks"]
    scores: dict[str, Any] = {task: [] for task in tasks}
    for role, need in job.needs.items():
        scores[role.partition("#")[0]].append(load(need, store))
    if settings["stand_in"]:
        stand_in: Any = CONTROLS.find(settings["stand_in"]).stand_in
        scores = stand_in(model_of(job, "source").nodes, tuple(tasks), settings["seed"])
    data = {task: _train(job, "target", task) for task in tasks}
    config = AlignmentConfig(**settings["config"])
    alignment = align(scores, target, data, config, progress=False)
    facts = _cost_of_training(training_passes(config.epochs), data)
    return Result(lambda folder: alignment.save(folder / "alignment.safetensors"), facts)


def _control(job: Job, store: Store) -> Result:
    settings, target = job.settings, model_of(job, "target")
    control = CONTROLS.find(settings["control"])
    data = {task: _train(job, "target", task) for task in settings["tasks"]}
    inputs = control_inputs(
        settings["options"],
        job.needs,
        lambda role: load(job.needs[role], store),
        target.nodes,
        target=target,
        data=data,
    )
    scores = control.scores(inputs)
    facts = _cost_of_training(control.passes(inputs.config), data)
    return Result(_scores_file(scores), facts)


def _cost_of_training(passes: Passes, data: dict[str, PairDataset]) -> dict[str, Any]:
    """Passes of all pairs, and how many pairs of each task were used."""
    pairs = {task: len(of_task) for task, of_task in data.items()}
    return {**passes.times(sum(pairs.values())), "pairs": pairs}


def _evaluate(job: Job, store: Store) -> Result:
    if not isinstance(job, EvaluateJob):
        raise ConfigError(f"{job} does not say which circuits to measure")
    target = model_of(job, "target")
    split, n, seed = job.settings["test"]
    task = job.settings["task"]
    expected = job.settings.get("data", {}).get(task)
    data = _tokens_of(_identity(job, "target"), task, split, n, seed, expected)
    return Result(measure(job, target, data, lambda need: load(need, store), store.manifest), {})


def _scores_file(scores: NodeScores) -> Callable[[Path], None]:
    return lambda folder: scores.save(folder / "scores.safetensors")


WORK: dict[str, Callable[[Job, Store], Result]] = {
    "attribute": _attribute,
    "few-pairs": _attribute,
    "bootstrapped": _attribute,
    "align": _align,
    "control": _control,
    "evaluate": _evaluate,
}
