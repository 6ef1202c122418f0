"""Folders of pairs as tasks: loaded, studied, on the command line; and what can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from dfa_tl import NodeScores, align, attribute, load_model, load_task
from dfa_tl.cli import app
from dfa_tl.errors import ConfigError, DataError, DFAError
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.report import write_report
from dfa_tl.study import PairSpec, StudyConfig, StudyResults, run_study
from test_study import TINY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def write(folder: Path, split: str, n: int, task: str = "ioi") -> pd.DataFrame:
    """The pairs of a generated task as a file of one's own."""
    folder.mkdir(exist_ok=True)
    frame = pd.DataFrame([vars(pair) for pair in load_task(task, split=split, n=n).pairs])
    frame = frame[["clean", "corrupt", "answer", "wrong_answer"]]
    frame.to_csv(folder / f"{split}.csv", index=False)
    return frame


@pytest.fixture
def mine(tmp_path) -> Path:
    folder = tmp_path / "names"
    write(folder, "train", 12)
    write(folder, "test", 8)
    return folder


def test_a_folder_is_a_task(mine):
    whole = load_task(str(mine))
    assert whole.name == str(mine)
    assert [pair.clean for pair in whole.pairs] == [
        pair.clean for pair in load_task("ioi", n=12).pairs
    ]
    assert len(load_task(str(mine), split="test")) == 8
    assert len(load_task(str(mine), n=5).tokenize(load_model("toy-small"))) == 5


def test_a_file_is_a_task_with_two_halves(mine):
    name = f"{mine}/train.csv"
    train, test = load_task(name), load_task(name, split="test")
    assert train.name == test.name == name
    assert (len(train), len(test)) == (6, 6)
    assert {*train.pairs, *test.pairs} == {*load_task(str(mine)).pairs}
    for seed in (1, 2):  # the halves are the same for every seed
        assert set(load_task(name, seed=seed).pairs) == set(train.pairs)


def test_a_seed_draws_another_sample_of_the_same_pairs(mine):
    first, again, other = (load_task(str(mine), seed=seed).pairs for seed in (1, 1, 2))
    assert first == again != other
    assert set(first) == set(other) == set(load_task(str(mine)).pairs)


def test_unusable_pairs_are_left_out(mine, caplog):
    frame = pd.read_csv(mine / "train.csv")
    frame.loc[3, "answer"] = " two words"
    frame.to_csv(mine / "train.csv", index=False)
    tokens = load_task(str(mine)).tokenize(load_model("toy-small"))
    assert len(tokens) == 11
    assert "1 of 12 pairs" in caplog.text


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no-folder": (lambda mine: load_task("./nowhere"), "no folder './nowhere'"),
    "a-file-that-is-not-there": (lambda mine: load_task(f"{mine}/all.csv"), "no file .*/all.csv"),
    "validation-pairs-of-a-file": (
        lambda mine: load_task(f"{mine}/train.csv", split="validation"),
        "train and test pairs only",
    ),
    "too-many-of-a-half": (
        lambda mine: load_task(f"{mine}/train.csv", n=7),
        "7 pairs were asked for, and it holds 6 train pairs",
    ),
    "no-split": (
        lambda mine: load_task(str(mine), split="validation"),
        "no file for the split 'validation'; expected one of validation.csv",
    ),
    "unknown-split": (lambda mine: load_task(str(mine), split="dev"), "unknown split 'dev'"),
    "two-files": (
        lambda mine: (mine / "test.jsonl").write_text("{}") and load_task(str(mine), split="test"),
        "several files for the split 'test'",
    ),
    "too-many": (
        lambda mine: load_task(str(mine), n=13),
        "13 pairs were asked for, and it holds 12",
    ),
    "none-asked-for": (lambda mine: load_task(str(mine), n=0), "n=0: ask for at least one pair"),
    "shared-pairs": (
        lambda mine: (
            (mine / "test.csv").write_bytes((mine / "train.csv").read_bytes())
            and load_task(str(mine), split="test")
        ),
        "12 of 12 pairs are also in train.csv",
    ),
    "path-and-folder": (lambda mine: load_task(str(mine), path=mine), "only the benchmark's tasks"),
    "path-of-a-generated-task": (
        lambda mine: load_task("ioi", path=mine),
        "only the benchmark's tasks take a path, not 'ioi'",
    ),
    "name-without-a-slash": (lambda mine: load_task("names"), "with a slash, of a folder"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults(case, mine):
    fault, message = FAULTS[case]
    with pytest.raises(DFAError, match=message.replace("(", r"\(")):
        fault(mine)


def of(folder: Path, **changes: object) -> StudyConfig:
    settled = {"controls": (), "train_pairs": 6, "test_pairs": 4, **changes}
    return replace(TINY, tasks=(str(folder), "arithmetic_addition"), **settled)


def test_a_study_of_a_folder_is_one_of_its_pairs(mine, tmp_path):
    """The same pairs give the same scores and curves, whether generated or read."""
    results = run_study(of(mine), tmp_path / "out", progress=False)
    assert not results.failures
    generated = replace(of(mine), tasks=("ioi", "arithmetic_addition"))
    plain = run_study(generated, tmp_path / "plain", progress=False)
    rows, expected = results.frame(), plain.frame()
    read = rows[rows["test_task"] == str(mine)].sort_values(["regime", "grid"])
    made = expected[expected["test_task"] == "ioi"].sort_values(["regime", "grid"])
    # The first pairs of a generated task are the same for every sample size.
    assert read["cpr"].tolist() == pytest.approx(made["cpr"].tolist(), abs=1e-9)
    loaded = StudyResults.load(results.folder)
    assert loaded.missing == []
    assert set(loaded.data_hashes[str(mine)]) == {"train", "test"}


def test_changed_pairs_are_a_new_study_and_unchanged_ones_are_not(mine, tmp_path):
    first = run_study(of(mine), tmp_path / "out", progress=False)
    keys = {job.key for job in first.jobs}
    again = run_study(of(mine), tmp_path / "out", progress=False)
    assert {job.key for job in again.jobs} == keys
    write(mine, "test", 7)
    changed = run_study(of(mine), tmp_path / "out", progress=False)
    new = [job for job in changed.jobs if job.key not in keys]
    assert {job.kind for job in new} == {"evaluate"}
    assert {job.task for job in new} == {str(mine)}


def test_pairs_that_change_under_a_study_are_refused(mine, tmp_path):
    from dfa_tl.study.inputs import data_hashes, model_hashes
    from dfa_tl.study.plan import plan
    from dfa_tl.study.run import run_jobs

    config = of(mine)
    hashes = model_hashes(["toy-small", "toy-large"])
    of_data = data_hashes(config)
    jobs = plan(config, hashes, of_data)
    write(mine, "train", 11)
    tracebacks = run_jobs(jobs, str(tmp_path / "out"))
    assert any("are no longer those" in each for each in tracebacks.values())


def test_too_few_pairs_are_refused_before_anything_runs(mine, tmp_path):
    for setting, split in (("train_pairs", "train"), ("test_pairs", "test")):
        message = rf"has \d+ {split} pairs, and the study takes 96: set {setting}.* to at most \d+"
        with pytest.raises(ConfigError, match=message):
            run_study(of(mine, **{setting: 96}), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_cause_of_failure_is_logged_once(mine, tmp_path, caplog):
    frame = pd.read_csv(mine / "train.csv")
    frame.loc[3, "answer"] = " two words"
    frame.to_csv(mine / "train.csv", index=False)
    results = run_study(of(mine, train_pairs=12, seeds=(0, 1)), tmp_path / "out", progress=False)
    failed = [failure for failure in results.failures if not failure.left_out]
    causes = {failure.traceback.strip().splitlines()[-1] for failure in failed}
    assert len(failed) > len(causes)
    logged = [record for record in caplog.records if "Traceback" in record.getMessage()]
    assert len(logged) == len(causes)
    assert "other job" in caplog.text
    assert "were left out because they need a job that failed" in caplog.text


def test_too_few_usable_pairs_are_no_smaller_sample(mine, tmp_path):
    """A row that says 12 pairs is of 12 pairs."""
    frame = pd.read_csv(mine / "train.csv")
    frame.loc[3, "answer"] = " two words"
    frame.to_csv(mine / "train.csv", index=False)
    results = run_study(of(mine, train_pairs=12), tmp_path / "out", progress=False)
    assert any("12 train pairs were asked for, 11" in f.traceback for f in results.failures)
    assert str(mine) not in {job.task for job in results.evaluations}


def test_scores_on_some_pairs_and_W_on_all(mine, tmp_path):
    """The paper's own: scores on 100 pairs, W on every pair that the tokenizer leaves usable."""
    frame = pd.read_csv(mine / "train.csv")
    frame.loc[3, "answer"] = " two words"
    frame.to_csv(mine / "train.csv", index=False)
    sums = tmp_path / "sums"
    write(sums, "train", 9, "arithmetic_addition")
    write(sums, "test", 4, "arithmetic_addition")
    config = replace(
        of(mine), tasks=(str(mine), str(sums)), regimes=("in-distribution",),
        controls=("target_only",), train_pairs="all", attribution_pairs=5,
    )  # fmt: skip
    results = run_study(config, tmp_path / "out", progress=False)
    assert not results.failures
    source, target = load_model("toy-small"), load_model("toy-large")
    scores = attribute(source, load_task(str(mine), n=5), "nap", progress=False)
    settings = next(iter(config.variants.values()))
    plain = align({str(mine): scores}, target, {str(mine): load_task(str(mine))}, settings)
    found = results.alignment(config.pairs[0].name, str(mine), "nap", regime="in-distribution")
    assert len(found.history) == len(plain.history) == 1  # 11 pairs are one batch
    torch.testing.assert_close(found.W, plain.W, atol=1e-6, rtol=1e-4)
    rows = results.frame()
    used = rows[rows["test_task"] == str(mine)].groupby("regime")["pairs_used"].first()
    assert used.to_dict() == {"gold": 5, "in-distribution": 11, "target_only": 11}
    assert set(rows["pairs"]) == {5}
    loaded = StudyResults.load(results.folder)
    assert (loaded.config, loaded.missing) == (config, [])


def test_missing_data_stop_a_study_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        run_study(of(tmp_path / "nowhere"), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_report_is_written_where_the_pairs_are_not_at_hand(mine, tmp_path):
    results = run_study(of(mine), tmp_path / "out", progress=False)
    digest = results.data_hashes[str(mine)]["train"]
    (mine / "test.csv").unlink()
    page = write_report(StudyResults.load(results.folder), tmp_path / "report.html").read_text()
    assert "not available" in page
    assert digest in page


def test_a_model_that_changes_in_place_is_loaded_again(tmp_path):
    """Within one process, a second study never uses the weights of the first."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (BUNDLED_FOLDER / "toy-small").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = replace(TINY, pairs=(PairSpec(str(folder), "toy-large"),), controls=())
    name = config.pairs[0].name
    before = run_study(config, tmp_path / "out", progress=False)
    scores = before.source_scores(name, "arithmetic_addition", "nap")
    weights = load_file(folder / "model.safetensors")
    name_of_one = next(key for key in sorted(weights) if "down_proj" in key)
    weights[name_of_one] = weights[name_of_one] * 2
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    after = run_study(config, tmp_path / "out", progress=False)
    assert after.model_hashes != before.model_hashes
    changed = after.source_scores(name, "arithmetic_addition", "nap")
    assert not torch.allclose(scores.values, changed.values)


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command_line(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "names.safetensors"
    result = run(
        "attribute", "--model", "toy-small", "--task", "./names", "--method", "nap",
        "--pairs", 4, "--out", out, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert NodeScores.load(out).provenance["task"] == "./names"
    result = run(
        "align", "--target", "toy-large", "--scores", out, "--pairs", 4, "--set", "epochs=1",
        "--out", tmp_path / "alignment.safetensors", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    result = run(
        "transfer", "--source", "toy-small", "--target", "toy-large", "--task", "./names",
        "--train", "mcqa", "--train", "./names", "--method", "nap", "--pairs", 4,
        "--test-pairs", 4, "--set", "epochs=1", "--out", tmp_path / "out", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert set(json.loads((tmp_path / "out" / "transfer.json").read_text())) == {
        "gold", "in-distribution", "zero-shot", "uniform_s", "random_W",
    }  # fmt: skip
    alone = run(
        "transfer", "--source", "toy-small", "--target", "toy-large", "--task", "./names",
        "--train", "./names", "--out", tmp_path / "out",
    )  # fmt: skip
    assert alone.exit_code == 1
    assert "zero-shot W needs another" in alone.output
    settings = yaml.safe_dump(of(mine).to_dict())
    (tmp_path / "study.yaml").write_text(settings.replace(str(mine), "./names"))
    result = run("study", tmp_path / "study.yaml", "--out", tmp_path / "runs", "--quiet")
    assert result.exit_code == 0, result.output
    assert "./names" in (tmp_path / "runs" / "tables" / "leaderboard.md").read_text()


def test_command_line_shows_what_the_package_warns_about(mine, tmp_path):
    frame = pd.read_csv(mine / "train.csv")
    frame.loc[3, "answer"] = " two words"
    frame.to_csv(mine / "train.csv", index=False)
    result = run(
        "attribute", "--model", "toy-small", "--task", mine, "--method", "nap", "--pairs", 11,
        "--out", tmp_path / "names.safetensors", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 of 12 pairs" in result.output


@pytest.mark.usefixtures("unchecked")
def test_tasks_are_names():
    with pytest.raises(ConfigError, match="expected names"):
        replace(TINY, tasks=(3,))
    with pytest.raises(DataError, match="holds no pairs"):
        replace(load_task("ioi", n=1), pairs=()).tokenize(load_model("toy-small"))
