"""The command line: the main job and a study, errors in one line, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from typer.testing import CliRunner

from dfa_tl.cli import app
from dfa_tl.study import work as work_module
from test_study import TASKS, TINY


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_has_examples():
    assert "study" in run("--help").output
    for name in ("attribute", "align", "evaluate", "transfer", "study", "tables"):
        result = run(name, "--help")
        assert result.exit_code == 0
        assert f"dfa-tl {name}" in result.output


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
        "--method", "nap", "--pairs", 2, "--test-pairs", 2, "--set", "epochs=1",
        "--out", tmp_path, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    table = json.loads((tmp_path / "transfer.json").read_text())
    assert set(table) == {"gold", "in-distribution", "zero-shot", "uniform_s"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("attribute", "--model", "toy-none", "--task", "ioi", "--out", "x"), 1, "error: no model"),
        (("attribute", "--model", "toy-small"), 2, "Missing option"),
        (("study", "none.yaml", "--out", "x"), 1, "error: settings cannot be read"),
        (("tables", "."), 1, "does not describe a study"),
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
