"""Fixtures, and run-time checks of every tensor shape that the package's signatures state."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
# PyTorch sums in another order with more threads: the processes that tests start get one as well.
os.environ["OMP_NUM_THREADS"] = "1"

# While the hook below imports a module, Python overlooks the compiled files of whatever else that
# module imports first, and compiles thousands of them again: so these come before it.
import datasets  # noqa: F401
import plotly.subplots  # noqa: F401
import scipy.stats  # noqa: F401
import transformer_lens.model_bridge  # noqa: F401
import transformers.models.llama.modeling_llama  # noqa: F401
from jaxtyping import config, install_import_hook

import typecheck  # noqa: F401

with install_import_hook("dfa_tl", "typecheck.checked"):
    import dfa_tl
    import dfa_tl.viz

    for name in dfa_tl.__all__:  # each is imported only when it is asked for
        getattr(dfa_tl, name)

import pytest
import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, PreTrainedModel

from dfa_tl import NodeModel, PairDataset, load_model
from dfa_tl.models.bundled.train import build_tokenizer
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.study import StudyResults
from families_table import (  # noqa: F401  (hooks of pytest)
    pytest_addoption,
    pytest_configure,
    pytest_runtest_logreport,
    pytest_sessionfinish,
)
from oracle import Oracle, Pairs
from tiny_models import random_pairs, tiny_model

torch.set_num_threads(1)

# What takes longest comes first: else one process waits while another runs its last file.
LONGEST = (
    "docs study_killed study notebooks main_job report study_cli study_effects browser precision "
    "writing registries viz_study memory job_versions estimate every_task statistics oracle_parity"
).split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


class Case(NamedTuple):
    """One model seen twice, as plain Hugging Face modules and as nodes, and pairs with padding."""

    kind: str
    hf: PreTrainedModel
    oracle: Oracle
    model: NodeModel
    pairs: Pairs
    data: PairDataset


@pytest.fixture(scope="session")
def save_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with a tiny random model and the bundled tokenizer."""
    folders: dict[str, Path] = {}

    def save(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp(kind)
            tiny_model(kind).save_pretrained(folders[kind])
            build_tokenizer().save_pretrained(folders[kind])
        return folders[kind]

    return save


@pytest.fixture(scope="session")
def case_of(save_tiny: Callable[[str], Path]) -> Callable[[str], Case]:
    """The case of a tiny model kind, or of a bundled model."""
    cases: dict[str, Case] = {}

    def build(kind: str) -> Case:
        if kind.startswith("toy"):
            hf = AutoModelForCausalLM.from_pretrained(BUNDLED_FOLDER / kind).eval()
            model = load_model(kind)
            texts = dfa_tl.load_task("ioi", n=3, split="test").pairs
            texts += dfa_tl.load_task("arithmetic_addition", n=1, split="test").pairs
            tokens = PairDataset(texts).tokenize(model)
            pairs = (tokens.clean, tokens.corrupt, tokens.answers, tokens.lengths)
        else:
            hf = tiny_model(kind)
            model = load_model(save_tiny(kind))
            pairs = random_pairs(kind, n=4, lengths=(6, 3, 7, 5))
        return Case(kind, hf, Oracle(hf), model, pairs, PairDataset.from_tokens(*pairs))

    def get(kind: str) -> Case:
        if kind not in cases:
            cases[kind] = build(kind)
        return cases[kind]

    return get


@pytest.fixture
def llama(case_of: Callable[[str], Case]) -> Case:
    """The tiny Llama with grouped-query attention."""
    return case_of("llama-gqa")


@pytest.fixture
def register():
    """A function that adds a record to a registry; it is taken out after the test."""
    added = []

    def add(registry, record):
        added.append((registry, registry.register(record).name))

    yield add
    for registry, name in added:
        registry.remove(name)


@pytest.fixture
def unchecked():
    """Without the run-time checks, as users run: arguments of wrong type and shape get through."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture
def one_thread():
    """The models are tiny: more threads of PyTorch's would only wait, and none outlive a fork."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_small() -> NodeModel:
    return load_model("toy-small")


@pytest.fixture(scope="session")
def toy_large() -> NodeModel:
    return load_model("toy-large")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder that a function fills: once, also where several processes run the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name: str, fill: Callable[[Path], object]) -> Path:
        folder = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not folder.exists():
                fill(folder.with_suffix(".part"))
                folder.with_suffix(".part").rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def studies_folder(made_once: Callable[..., Path]) -> Path:
    """What `small_studies.py` makes."""
    script = Path(__file__).with_name("small_studies.py")
    return made_once(
        "small-studies",
        lambda folder: subprocess.run([sys.executable, script, folder], check=True),
    )


@pytest.fixture(scope="session")
def notebooks_folder(made_once: Callable[..., Path]) -> Path:
    """The notebooks of examples/ with their outputs."""
    from test_notebooks import execute_all

    return made_once("notebooks", execute_all)


@pytest.fixture(scope="session")
def small_studies(studies_folder: Path) -> dict[str, StudyResults]:
    """The studies of `small_studies.py`."""
    return {name: StudyResults.load(studies_folder / name) for name in ("small", "hostile")}


@pytest.fixture(scope="session")
def report_files(studies_folder: Path) -> dict[str, Path]:
    """Their reports; that of `small` has attention views."""
    return {name: studies_folder / f"{name}.html" for name in ("small", "hostile")}
