"""The models and pairs that jobs use, and the hashes that identify them.

    bundled model, folder   sha256 over the names and contents of its files
    GGUF file               sha256 of its contents
    model on the hub        the commit in the local cache, or else the newest one on the hub
    task of your own        sha256 of JSON [[clean, corrupt, answer, wrong_answer, as_long], ..],
                            for each split; also for the benchmark's tasks
    generated task          none: the sample size and the seed determine its pairs

Models and tokenised pairs are kept in the process, so that a worker that does all jobs of a pair of
models loads each model once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from huggingface_hub import HfApi, try_to_load_from_cache

from dfa_tl.errors import ConfigError, DataError, ModelError
from dfa_tl.io.model_names import SHORT_NAMES
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.models.folder import local_model
from dfa_tl.models.loading import load_model
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.shape import ModelShape, model_shape
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.keys import machine_field
from dfa_tl.tasks import TASKS
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.registry import load_task

MODELS_KEPT = 3
MODEL_FILES = {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"}
COMMIT = "commit "
BLOCK = 2**24
"""Bytes that are read at a time."""


@dataclass(frozen=True)
class ModelSpec:
    """A model that a job runs.

    Attributes:
        name: As `load_model` takes it.
        fingerprint: Of its files, by `model_hashes`.
        dtype: Precision of its weights.
        prepend_bos: As `load_model` takes it.
        device: Where it is loaded; does not decide results.
    """

    name: str
    fingerprint: str
    dtype: str
    prepend_bos: bool | None
    device: str | None = machine_field()

    @property
    def shape(self) -> ModelShape:
        """Its size, without loading it."""
        return model_shape(self.name, self.revision)

    @property
    def revision(self) -> str | None:
        """The commit of a model on the hub."""
        if self.fingerprint.startswith(COMMIT):
            return self.fingerprint.removeprefix(COMMIT)
        return None

    def load(self) -> NodeModel:
        """The model, loaded once per process.

        Raises:
            ModelError: its files have changed since the study was started.
        """
        return _loaded(self)


@dataclass(frozen=True)
class Sample:
    """Pairs of a task.

    Attributes:
        task, split, n, seed: As `load_task` takes them; `n=None` for the whole split.
        fingerprint: Of the split, by `data_hashes`; None for a generated task.
    """

    task: str
    split: str
    n: int | None
    seed: int
    fingerprint: str | None

    @property
    def size(self) -> int:
        """How many pairs it has."""
        return len(load_task(self.task, split=self.split)) if self.n is None else self.n

    def tokens(self, model: ModelSpec) -> PairDataset:
        """The pairs as a model's tokens, made once per process.

        Raises:
            DataError: the data have changed since the study was started, or fewer than `n` pairs
                suit the model's tokenizer.
        """
        return _tokens(self, model)


@lru_cache(maxsize=MODELS_KEPT)
def _loaded(spec: ModelSpec) -> NodeModel:
    if spec.revision is None and _model_hash(spec.name) != spec.fingerprint:
        raise ModelError(
            f"{spec.name!r} is no longer the model that the study was started with; start it "
            "again, or put its files back"
        )
    return load_model(
        spec.name,
        dtype=getattr(torch, spec.dtype),
        device=spec.device,
        revision=spec.revision,
        prepend_bos=spec.prepend_bos,
    )


# The model is named, not given: the cache must not keep models in memory.
@lru_cache(maxsize=128)
def _tokens(sample: Sample, model: ModelSpec) -> PairDataset:
    task, split, n = sample.task, sample.split, sample.n
    if sample.fingerprint is not None and _data_hash(task, split) != sample.fingerprint:
        raise DataError(
            f"the {split} pairs of {task!r} are no longer those that the study was started with; "
            "start it again, or put them back"
        )
    loaded = model.load()
    pairs = load_task(task, split=split, n=n, seed=sample.seed).tokenize(loaded)
    if n is not None and len(pairs) < n:
        raise DataError(
            f"{task!r}: {n} {split} pairs were asked for, {len(pairs)} suit the tokenizer of "
            f"{loaded.name}; lower train_pairs, attribution_pairs or test_pairs, or leave the "
            "task out"
        )
    return PairDataset.from_tokens(
        pairs.clean, pairs.corrupt, pairs.answers, pairs.lengths, name=task
    )


def model_hashes(names: Iterable[str]) -> dict[str, str]:
    """The hash of each model.

    Raises:
        ModelError: no such model, or a hub name that is neither cached nor reachable.
    """
    return {name: _model_hash(name) for name in dict.fromkeys(names)}


def _model_hash(name: str) -> str:
    if (found := local_model(name)) is not None:
        return f"sha256 {_file_hash(found) if found.is_file() else _folder_hash(found)}"
    name = SHORT_NAMES.get(name, name)
    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str):
        return f"{COMMIT}{Path(cached).parent.name}"
    try:
        return f"{COMMIT}{HfApi().model_info(name).sha}"
    except Exception as error:
        raise ModelError(
            f"{name!r} is neither a folder nor in the hub's local cache, and the hub does not "
            f"answer ({type(error).__name__}); fetch it once with load_model({name!r})"
        ) from error


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in MODEL_FILES:
            digest.update(f"{path.name} {_file_hash(path)}\n".encode())
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def data_hashes(config: StudyConfig) -> dict[str, dict[str, str]]:
    """The hash of each split of each task that is not generated.

    Raises:
        DataError: data that are missing or cannot be read, as `load_task`.
        ConfigError: a split has fewer pairs than the study takes from it.
    """
    train = [n for n in (config.train_pairs, config.n_attribution_pairs) if isinstance(n, int)]
    wanted = {"train": max(train, default=0), config.test_split: config.test_pairs}
    hashes: dict[str, dict[str, str]] = {}
    for task in config.tasks:
        if task in TASKS:
            continue
        for split, n in wanted.items():
            available = len(load_task(task, split=split))
            if available < n:
                setting = "train_pairs and attribution_pairs" if split == "train" else "test_pairs"
                raise ConfigError(
                    f"task {task!r} has {available} {split} pairs, and the study takes {n}: set "
                    f"{setting} to at most {available}"
                )
            hashes.setdefault(task, {})[split] = _data_hash(task, split)
    return hashes


def _data_hash(task: str, split: str) -> str:
    pairs = [astuple(pair) for pair in load_task(task, split=split).pairs]
    return hashlib.sha256(json_bytes(pairs, f"the pairs of {task}")).hexdigest()
