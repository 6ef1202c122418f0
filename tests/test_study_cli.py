"""The command line: the main job and a study, errors in one line, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import yaml
from typer.testing import CliRunner

from dfa_tl import Alignment, NodeScores, NodeSet
from dfa_tl.cli import app
from dfa_tl.study import work as work_module
from test_study import TASKS, TINY

DFA_TL = (sys.executable, "-c", "from dfa_tl.cli import app; app()")


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_has_examples():
    assert "study" in run("--help").output
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert names == set(
        "models tasks attribute align evaluate transfer study tables report".split()
    )
    for name in names:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert f"dfa-tl {name}" in result.output.partition("Examples:")[2], name


def test_lists():
    assert "toy-large: 42 nodes" in run("models").output
    assert "arc_challenge" in run("tasks").output


def test_attribute_align_evaluate(tmp_path):
    files = {}
    for task in TASKS:
        files[task] = tmp_path / f"{task}.safetensors"
        result = run(
            "attribute", "--model", "toy-small", "--task", task, "--method", "nap",
            "--pairs", 4, "--out", files[task], "--quiet",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
    alignment = tmp_path / "alignment.safetensors"
    result = run(
        "align", "--target", "toy-large", "--scores", files[TASKS[0]], "--pairs", 4,
        "--set", "epochs=1", "--out", alignment, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    curves = tmp_path / "curves.csv"
    result = run(
        "evaluate", "--model", "toy-large", "--task", TASKS[1], "--scores", files[TASKS[1]],
        "--alignment", alignment, "--pairs", 4, "--out", curves, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "CPR" in result.output
    assert len(curves.read_text().splitlines()) == 11


def test_transfer(tmp_path):
    result = run(
        "transfer", "--source", "toy-small", "--target", "toy-large", "--task", "ioi",
        "--method", "nap", "--pairs", 2, "--attribution-pairs", 3, "--test-pairs", 2,
        "--set", "epochs=1", "--out", tmp_path, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for name in ("source", "scores_gold"):
        assert NodeScores.load(tmp_path / f"{name}.safetensors").provenance["pairs"] == 3
    alignment = Alignment.load(tmp_path / "alignment_in-distribution.safetensors")
    assert alignment.provenance["pairs"] == {"ioi": 2}
    table = json.loads((tmp_path / "transfer.json").read_text())
    assert set(table) == {"gold", "in-distribution", "zero-shot", "uniform_s"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("attribute", "--model", "toy-none", "--task", "ioi", "--out", "x"), 1, "error: no model"),
        (("attribute", "--model", "toy-small"), 2, "Missing option"),
        (("study", "none.yaml", "--out", "x"), 1, "error: none.yaml cannot be read"),
        (("tables", "."), 1, "expected the description of a study"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_errors(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.output
    if code == 1:
        assert len(result.output.strip().splitlines()) == 1


A_MODEL = ("--model", "toy-small", "--task", "ioi")
WRITING = {
    "attribute": ("attribute", *A_MODEL),
    "align": ("align", "--target", "toy-small", "--scores", "scores.safetensors"),
    "evaluate": ("evaluate", *A_MODEL, "--scores", "scores.safetensors"),
    "transfer": ("transfer", "--source", "toy-small", "--target", "toy-large", "--task", "ioi"),
    "study": ("study", "study.yaml"),
    "tables": ("tables", "study"),
    "report": ("report", "study", "--attention"),
}


@pytest.fixture
def nothing_runs(tmp_path, monkeypatch):
    """A folder with what the commands read, where loading or running anything is a failure."""
    monkeypatch.chdir(tmp_path)
    NodeScores(NodeSet(3, 4), torch.ones(15), provenance={"task": "ioi"}).save("scores.safetensors")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(TINY.to_dict()))
    (tmp_path / "study").mkdir()
    (tmp_path / "file").touch()
    for module in ("single", "transfer", "report", "app"):
        for name in ("load", "load_model", "load_task"):
            monkeypatch.setattr(f"dfa_tl.cli.{module}.{name}", None, raising=False)
    monkeypatch.setattr("dfa_tl.cli.study.run_study", None)
    monkeypatch.setattr("dfa_tl.cli.study.StudyResults", None)
    monkeypatch.setattr("dfa_tl.cli.report.StudyResults", None)
    return tmp_path


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("command", WRITING)
def test_a_place_that_cannot_be_written_is_refused_first(command, nothing_runs, monkeypatch):
    before = tree(nothing_runs)

    def refused(place: str, message: str) -> None:
        result = run(*WRITING[command], "--out", place)
        assert (result.exit_code, type(result.exception)) == (1, SystemExit), result.output
        assert result.output.startswith("error: ")
        assert message in result.output
        assert len(result.output.splitlines()) == 1

    refused("file", "file is a file, where a folder is needed")
    refused("x.jsonl", "x.jsonl ends ")
    if command in ("transfer", "study", "tables"):
        refused("x.csv", "x.csv ends like a file; several files are written: give a folder")
    refused("file/below/it", "file is a file, where a folder is needed")
    refused("x" * 300, "cannot be written (File name too long)")
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK)
    refused("new/below", f"{nothing_runs} may not be written to")
    assert tree(nothing_runs) == before


def test_ctrl_c(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dfa_tl.cli.single.load", interrupted)
    result = run("attribute", *A_MODEL, "--out", tmp_path / "scores.safetensors")
    assert (result.exit_code, result.output) == (130, "interrupted\n")
    assert not list(tmp_path.iterdir())


def test_quiet_is_quiet(tmp_path):
    command = [
        *DFA_TL, "attribute", *A_MODEL, "--method", "nap", "--pairs", "2",
        "--out", str(tmp_path / "scores.safetensors"),
    ]  # fmt: skip
    loud = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "it/s" in loud.stderr
    quiet = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=True)
    assert quiet.stderr == ""
    assert quiet.stdout == loud.stdout


def ended(group: int, seconds: float = 20) -> bool:
    """Whether a group of processes comes to its end."""
    for _ in range(int(seconds / 0.2)):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_too(tmp_path):
    settings = replace(TINY, seeds=tuple(range(20)), controls=()).to_dict()
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(settings))
    process = subprocess.Popen(
        [*DFA_TL, "study", "study.yaml", "--out", "out", "--workers", "2", "--quiet"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    jobs = tmp_path / "out" / "jobs"
    while not (jobs.exists() and list(jobs.iterdir())):
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)  # to this process alone: its workers are its own to end
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert ended(process.pid)


def test_study_and_tables(tmp_path, monkeypatch):
    config = replace(TINY, controls=())
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    plain = work_module.WORK["align"]

    def failing(job, store):
        raise RuntimeError("the lights went out")

    monkeypatch.setitem(work_module.WORK, "align", failing)
    result = run("study", file, "--out", tmp_path / "out", "--quiet")
    assert result.exit_code == 3
    assert "the lights went out" in result.output
    monkeypatch.setitem(work_module.WORK, "align", plain)
    result = run("study", file, "--out", tmp_path / "out", "--quiet", "--set", "seeds=[0]")
    assert result.exit_code == 0, result.output
    assert "0 failed" in result.output
    assert (tmp_path / "out" / "tables" / "leaderboard.md").is_file()
    result = run("tables", tmp_path / "out", "--show", "leaderboard")
    assert "DFA (zero-shot)" in result.output
