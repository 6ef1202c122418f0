"""A study's folder from elsewhere: checksums in order, and contents that make no sense."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dfa_tl import AlignmentConfig, analysis
from dfa_tl.errors import FileFormatError
from dfa_tl.io.tensors import load_tensors, save_tensors
from dfa_tl.study import PairSpec, StudyConfig, StudyResults, run_study
from dfa_tl.study import store as store_module
from dfa_tl.study.rows import checked_rows

CONFIG = StudyConfig(
    pairs=(PairSpec("toy-small", "toy-large"),),
    tasks=("ioi", "mcqa"),
    methods=("nap",),
    regimes=("zero-shot",),
    controls=("uniform_s", "depth_mean"),
    train_pairs=4,
    test_pairs=4,
    draws=1,
    few_pairs_methods=("nap",),
    few_pairs_sizes=(2,),
    few_pairs_draws=1,
    variants={"default": AlignmentConfig(epochs=1)},
    protocols=("nodes", "mib"),
    grids=("mib",),
    metrics=("logit_diff", "prob_diff"),
    resamples=100,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> StudyResults:
    return run_study(CONFIG, tmp_path_factory.mktemp("study"), progress=False)


def content(results: StudyResults, number: int = 0) -> bytes:
    job = results.evaluations[number]
    return (results._store.path(job) / "rows.json").read_bytes()


def forged(results: StudyResults, name: str, file: bytes, folder: Path) -> StudyResults:
    """A copy in which a file of the first measurement is another one, its checksum in order."""
    shutil.copytree(results.folder, folder)
    path = results._store.path(results.evaluations[0]).relative_to(results.folder)
    (folder / path / name).write_bytes(file)
    manifest = json.loads((folder / path / "manifest.json").read_bytes())
    del manifest["sha256"]
    manifest["files"][name] = hashlib.sha256(file).hexdigest()
    (folder / path / "manifest.json").write_bytes(store_module._sealed(manifest))
    return StudyResults.load(folder)


def test_what_was_measured_is_read_as_it_is(study):
    assert not study.failures
    assert len(study.evaluations) > 2
    for number, job in enumerate(study.evaluations):
        text = content(study, number)
        assert checked_rows(text, job) == json.loads(text)
    assert len(study.frame()) == sum(
        len(json.loads(content(study, number))) for number in range(len(study.evaluations))
    )


def put(**values: object) -> Callable[[list[dict]], Any]:
    return lambda rows: rows[1].update(values)


def other_tasks(rows: list[dict]) -> None:
    for row in rows:
        row["test_task"] = "mcqa" if row["test_task"] == "ioi" else "ioi"


ODD: dict[str, tuple[Callable[[list[dict]], Any], str]] = {
    "nan": (put(cpr=math.nan), "is not valid JSON: NaN is not a JSON number"),
    "infinite": (put(m_clean=math.inf), "is not valid JSON: Infinity is not a JSON number"),
    "text": (put(cmd="0.9"), "row 1: cmd must be a finite number, got '0.9'"),
    "null": (put(floor=None), "row 1: floor must be a finite number, got None"),
    "truth": (put(cpr=True), "row 1: cpr must be a finite number, got True"),
    "beyond numbers": (put(cpr=10**400), "row 1: cpr must be a finite number, got an integer of"),
    "text limit": (
        put(cpr_low="-inf"),
        "row 1: cpr_low must be a finite number or null",
    ),
    "limits in the wrong order": (put(cmd_low=2, cmd_high=1), "row 1: cmd_low is above cmd_high"),
    "infinite structure": (put(pearson=math.inf), "not valid JSON: Infinity is not a JSON number"),
    "negative cost": (put(task_target_forward=-1), "row 1: task_target_forward must be a number"),
    "no pairs": (put(n=0), "row 1: n must be a whole number from 1, got 0"),
    "missing column": (lambda rows: rows[1].pop("cpr"), "row 1 lacks cpr"),
    "missing key": (lambda rows: rows[1].pop("seed"), "row 1 lacks seed"),
    "unknown column": (put(colour=1), "row 1 has unknown columns, first 'colour'"),
    "another task": (other_tasks, "row 0 belongs to no circuit and view of this job: toy-small"),
    "another pair": (put(pair="a -> b"), "row 1 belongs to no circuit and view of this job"),
    "another method": (put(method="exact"), "row 1 belongs to no circuit and view of this job"),
    "another seed": (put(seed=1), "row 1 belongs to no circuit and view of this job"),
    "truth for a seed": (
        put(seed=False),
        "row 1: pair, method, .* must be texts and whole numbers",
    ),
    "list for a task": (put(test_task=["ioi"]), "row 1: pair, .* must be texts and whole numbers"),
    "another regime": (put(regime="all"), "row 1 belongs to no circuit and view of this job"),
    "another variant": (put(variant="better"), "row 1 belongs to no circuit and view of this job"),
    "other train tasks": (put(train_tasks="arc_easy"), "row 1 belongs to no circuit and view"),
    "another draw": (put(draw=7), "row 1 belongs to no circuit and view of this job"),
    "other pairs": (put(pairs=95), "row 1 belongs to no circuit and view of this job"),
    "another grid": (put(grid="fine"), "row 1 belongs to no circuit and view of this job"),
    "another metric": (put(metric="kl"), "row 1 belongs to no circuit and view of this job"),
    "a row twice": (lambda rows: rows.append(dict(rows[0])), r"row \d+ appears twice: toy-small"),
    "a row too few": (lambda rows: rows.pop(0), "no row for toy-small -> toy-large, "),
    "no rows": (lambda rows: rows.clear(), "no row for toy-small -> toy-large, "),
}


def test_null_stands_for_what_json_cannot_say(study):
    rows = json.loads(content(study))
    rows[0] |= {"cpr_low": None, "cpr_high": None, "task_target_forward": None, "pearson": None}
    row = checked_rows(json.dumps(rows), study.evaluations[0])[0]
    assert (row["cpr_low"], row["cpr_high"], row["pearson"]) == (-math.inf, math.inf, None)
    assert math.isnan(row["task_target_forward"])


def test_a_number_too_large_for_a_float(study):
    rows = json.loads(content(study))
    rows[1]["m_clean"] = "HERE"
    text = json.dumps(rows).replace('"HERE"', "1e999")
    with pytest.raises(FileFormatError, match="row 1: m_clean must be a finite number, got inf"):
        checked_rows(text, study.evaluations[0])


@pytest.mark.parametrize("name", ODD)
def test_rows_that_make_no_sense(study, name):
    change, message = ODD[name]
    rows = json.loads(content(study))
    change(rows)
    with pytest.raises(FileFormatError, match=message) as caught:
        checked_rows(json.dumps(rows), study.evaluations[0])
    assert "evaluate(pair=toy-small -> toy-large" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"a": 1}', "it must be a list of rows"),
        (b"[1]", "it must be a list of rows"),
        (b'[{"cpr": 1, "cpr": 2}]', "the key 'cpr' occurs twice"),
        (b"\xff", "is not valid JSON"),
    ],
)
def test_files_that_hold_no_rows(study, text, message):
    with pytest.raises(FileFormatError, match=message):
        checked_rows(text, study.evaluations[0])


def test_a_metric_that_is_undefined_may_be_left_out(study):
    rows = [row for row in json.loads(content(study)) if row["metric"] == "logit_diff"]
    assert checked_rows(json.dumps(rows), study.evaluations[0]) == rows


def test_tables_refuse_forged_rows(study, tmp_path):
    rows = json.loads(content(study))
    rows[0]["cpr"] = math.nan
    results = forged(study, "rows.json", json.dumps(rows).encode(), tmp_path / "copy")
    assert results.missing == []  # all checksums are in order
    for read in (results.frame, partial(analysis.leaderboard, results)):
        with pytest.raises(FileFormatError, match="NaN is not a JSON number"):
            read()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, about: tensors["0"].fill_(math.nan), "pair_values of a curve must be fin"),
        (lambda tensors, about: tensors.pop("clean logit_diff"), "'clean logit_diff'"),
        (lambda tensors, about: about[0]["ks"].reverse(), "at least two rising proportions"),
        (lambda tensors, about: about[0]["n_kept"].pop(), "a curve of 10 proportions needs 10"),
        (lambda tensors, about: about[0].update(view=["nodes"]), "missing 2 required"),
        (lambda tensors, about: about[0].pop("circuit"), "'circuit'"),
    ],
)
def test_curves_refuse_forged_files(study, change, message, tmp_path):
    job = study.evaluations[0]
    tensors, metadata = load_tensors(study._store.path(job) / "curves.safetensors", "curves")
    change(tensors, metadata["curves"])
    save_tensors(tmp_path / "altered", "curves", tensors, metadata)
    results = forged(
        study, "curves.safetensors", (tmp_path / "altered").read_bytes(), tmp_path / "copy"
    )
    with pytest.raises(FileFormatError, match=f"does not hold valid curves: .*{message}"):
        results.curves(job.pair, job.task, job.method, job.seed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: '{"format":1,"config":' + "[" * 100_000, "is not valid JSON"),
        (lambda text: "[]", "the file must be a dictionary"),
        (lambda text: text.replace("{", '{"format": 2, ', 1), "the key 'format' occurs twice"),
        ({"format": 99}, "format 99, expected"),
        ({"models": {}}, "models lacks 'toy-small'"),
        ({"models": ["ab"]}, r"models must be a dictionary, got \['ab'\]"),
        ({"models": {"toy-small": 1, "toy-large": 2}}, "models must have a text for each name"),
        ({"data": [1]}, "data must be a dictionary"),
        ({"data": {"ioi": {"train": "a"}}}, "data of 'ioi' lacks 'test'"),
        (
            {"job_versions": {"align": 1}},
            "job_versions must have a whole number for each of attrib",
        ),
        ({"config": None}, "config must be a dictionary, got None"),
        ({"config": {"relations": [1]}}, "a study needs pairs"),
        ({"config": {"pairs": [{"source": "a", "target": "b"}], "relations": [1]}}, "relations"),
    ],
)
def test_descriptions_that_make_no_sense(study, change, message, tmp_path, unchecked):
    text = (study.folder / "study.json").read_text()
    text = json.dumps(json.loads(text) | change) if isinstance(change, dict) else change(text)
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=f"describe a study: .*{message}") as caught:
        StudyResults.load(tmp_path)
    assert str(path) in str(caught.value)


def test_a_description_without_a_part(study, tmp_path):
    content = json.loads((study.folder / "study.json").read_text())
    for part in content:
        less = {name: value for name, value in content.items() if name != part}
        (tmp_path / "study.json").write_text(json.dumps(less))
        with pytest.raises(FileFormatError, match=f"does not describe a study: it lacks '{part}'"):
            StudyResults.load(tmp_path)
