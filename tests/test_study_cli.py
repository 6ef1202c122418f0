"""The command line: the main job and a study, errors in one line, exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import get_args

import pandas as pd
import pytest
import torch
import typer
import yaml
from typer.testing import CliRunner

import dfa_tl
from dfa_tl import Alignment, NodeScores, NodeSet, load_task
from dfa_tl.attribution.attribute import METHODS
from dfa_tl.cli import app
from dfa_tl.models.ablation import Ablation
from dfa_tl.study.jobs import AlignJob
from dfa_tl.tasks.metrics import METRICS
from dfa_tl.tasks.registry import WORDS
from test_study import TASKS, TINY

DFA_TL = (sys.executable, "-c", "from dfa_tl.cli import app; app()")


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_has_examples():
    assert "study" in run("--help").output
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    in_order = "models tasks methods pairs transfer attribute align evaluate study tables report"
    assert names == in_order.split()
    for name in names:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert f"dfa-tl {name}" in result.output.partition("Examples:")[2], name


def parameters():
    """Every parameter of every command, as Click knows it."""
    commands = typer.main.get_command(app).commands
    return [(name, each) for name, command in commands.items() for each in command.params]


def test_what_a_value_is_is_said_in_words():
    for command, each in parameters():
        if each.name != "help" and not getattr(each, "is_flag", False):
            assert each.metavar, (command, each.name)
            assert re.fullmatch("[A-Z]+(=[A-Z]+)?", each.metavar), (command, each.name)


def test_an_option_means_the_same_in_every_command():
    spellings = {}
    for _, each in parameters():
        if each.param_type_name == "option":
            spellings.setdefault(each.name, set()).add((*each.opts, *each.secondary_opts))
    assert {name: found for name, found in spellings.items() if len(found) > 1} == {}
    defaults = {}
    for _, each in parameters():
        if each.name in ("dtype", "seed", "batch_size", "grid", "method"):
            defaults.setdefault(each.name, set()).add(each.default)
    assert {name: len(found) for name, found in defaults.items()} == dict.fromkeys(defaults, 1)


def test_summaries_in_the_list_of_commands_are_whole():
    assert "..." not in run("--help").output.partition("Commands:")[2]


SLOW = "torch transformers transformer_lens numpy pandas scipy plotly datasets huggingface_hub tqdm"


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("transfer", "--help"),
                                       ("study", "--help"), ("report", "--help"), ()])  # fmt: skip
def test_help_imports_nothing_slow(arguments):
    program = (
        "import sys\nfrom dfa_tl.cli import app\n"
        "try:\n    app()\nfinally:\n"
        f"    print('imported:', *sorted(set({SLOW.split()}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == (0 if arguments else 2)
    assert done.stdout.splitlines()[-1] == "imported:"


def test_importing_the_package_imports_nothing_slow():
    program = (
        "import sys, dfa_tl\n"
        f"assert not set({SLOW.split()}) & set(sys.modules)\n"
        "assert set(dfa_tl.__all__) <= set(dir(dfa_tl))\n"
        "assert dfa_tl.errors.DataError and not hasattr(dfa_tl, 'nonsense')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
def test_what_is_imported_late_is_there():
    program = (
        "import dfa_tl\n"
        "assert dfa_tl.NodeSet(1, 1) and dfa_tl.controls.uniform_s\n"
        "from dfa_tl import nodes, viz\n"
        "assert nodes.NodeSet is dfa_tl.NodeSet and viz.score_map\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_help_lists_the_methods_and_metrics_that_there_are():
    # Written out in the help, so that it needs no imports.
    help_of = {name: " ".join(run(name, "--help").output.split()) for name in
               ("transfer", "attribute", "evaluate")}  # fmt: skip
    for name in METHODS:
        assert f"{name}\n" in run("methods").output
    for name in METRICS:
        assert name in help_of["evaluate"]
    for name in get_args(Ablation):
        assert name in help_of["attribute"].replace("mean- ", "mean-")


def test_version():
    assert run("--version").output == f"dfa-tl {dfa_tl.__version__}\n"


@pytest.fixture
def sums(tmp_path, monkeypatch):
    """A task of ten pairs, by the path of its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums").mkdir()
    for split in ("train", "test"):
        pairs = load_task("arithmetic_addition", n=10, split=split).pairs
        rows = [vars(pair) | {"as_long": None} for pair in pairs]
        pd.DataFrame(rows).drop(columns="as_long").to_csv(f"sums/{split}.csv", index=False)
    return "./sums"


@pytest.mark.slow
def test_a_small_folder_is_used_whole_unless_more_is_asked_for(sums):
    small = ("--model", "toy-small", "--task", sums, "--method", "nap", "--quiet")
    result = run("attribute", *small, "--out", "s.safetensors")
    assert result.exit_code == 0, result.output
    assert NodeScores.load("s.safetensors").provenance["pairs"] == 10
    result = run("attribute", *small, "--out", "s.safetensors", "--pairs", 11)
    assert result.exit_code == 1
    assert "11 pairs were asked for, and it holds 10" in result.output
    transfer = ("transfer", "--source", "toy-small", "--target", "toy-small", "--task", sums,
                "--train", "arc_easy", "--method", "nap", "--out", "out", "--quiet")  # fmt: skip
    result = run(*transfer, "--set", "epochs=1")
    assert result.exit_code == 0, result.output
    aligned = dfa_tl.Alignment.load("out/alignment_in-distribution.safetensors")
    assert aligned.provenance["pairs"] == {sums: 10}
    result = run(*transfer, "--test-pairs", 96)
    assert "error: " in result.output
    assert "96 pairs were asked for, and it holds 10" in result.output
    evaluate = ("evaluate", "--model", "toy-small", "--task", sums, "--scores", "s.safetensors")
    assert run(*evaluate, "--quiet").exit_code == 0
    assert run(*evaluate, "--quiet", "--pairs", 11).exit_code == 1


@pytest.mark.slow
def test_a_short_training_is_warned_about(sums):
    run("attribute", "--model", "toy-small", "--task", sums, "--method", "nap", "--pairs", 2,
        "--out", "s.safetensors", "--quiet")  # fmt: skip
    program = [*DFA_TL, "align", "--target", "toy-small", "--scores", "s.safetensors", "--out",
               "W.safetensors", "--set", "steps=3", "--quiet"]  # fmt: skip
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: training takes only 3 steps")
    assert "Set steps to 100 or more" in line


def test_lists():
    assert "toy-large: 42 nodes" in run("models").output
    assert "arc_challenge (for the bundled models)" in run("tasks").output
    words = run("models", "--words").output.split()
    assert words[:3] == ["0", "to", "98"]
    assert set(words[3:]) == {word for word in WORDS if not word.isdigit()}


@pytest.mark.slow
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
    assert len(curves.read_text().splitlines()) == 1 + len(dfa_tl.LINEAR_KS)


@pytest.mark.slow
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
    assert set(table) == {"gold", "in-distribution", "zero-shot", "uniform_s", "random_W"}
    printed = result.output
    for name in ("gold", "DFA (zero-shot)", "no source", "random W, 5 draws"):
        assert re.search(rf"^{re.escape(name)} +-?\d\.\d\d", printed, re.M), name
    assert f"gold  {' ' * 17}{table['gold']['cpr']:.2f} [" in printed
    best = NodeScores.load(tmp_path / "scores_zero-shot.safetensors").top(10)
    assert f"Top nodes: {', '.join(node.name for node in best)} (" in printed
    assert "gold (CPR" in (tmp_path / "curves.html").read_text()
    assert "gold only" in (tmp_path / "circuit.html").read_text()
    (again,) = re.findall(r"^  (dfa-tl transfer .+)$", printed, re.M)
    assert shlex.split(again)[1:] == [
        "transfer", "--source", "toy-small", "--target", "toy-large", "--task", "ioi", "--out",
        f"{tmp_path}_seed1", "--method", "nap", "--set", "epochs=1", "--pairs", "2",
        "--attribution-pairs", "3", "--test-pairs", "2", "--seed", "1", "--quiet",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_file_of_ten_pairs_is_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [vars(pair) for pair in load_task("arithmetic_addition", n=10).pairs]
    pd.DataFrame(rows).to_json("sums.jsonl", orient="records", lines=True)
    command = ("transfer", "--source", "toy-small", "--target", "toy-large", "--task", "sums.jsonl",
               "--method", "nap", "--out", "out", "--set", "steps=1", "--quiet")  # fmt: skip
    result = run(*command, "--train", "mcqa", "--pairs", 8)
    assert result.exit_code == 0, result.output
    sizes = "sums.jsonl: 5 train and 5 test pairs. W is trained on 8 pairs each of mcqa.\n"
    assert sizes in result.output
    known = "mcqa arc_easy arc_challenge ioi arithmetic_addition arithmetic_subtraction".split()
    for name in ("dfa_tl.cli.options", "dfa_tl.cli.app"):  # the package has an `app` of its own
        monkeypatch.setattr(sys.modules[name], "DEFAULT_PAIRS", 4)
    result = run(*command)  # the tasks of the bundled models, not those in English
    assert result.exit_code == 0, result.output
    (trained_on,) = re.findall(r"W is trained on 4 pairs each of (.+)\.$", result.output, re.M)
    assert set(trained_on.split(", ")) == set(known)


FILES = {
    "column.csv": "prompt,corrupt,answer,wrong_answer\na,b,c,d\n",
    "empty.csv": "",
    "no_rows.csv": "clean,corrupt,answer,wrong_answer\n",
    "one.csv": "clean,corrupt,answer,wrong_answer\n3 + 4 =,3 + 5 =, 7, 8\n",
    "twice.csv": "clean,corrupt,answer,wrong_answer\n" + "3 + 4 =,3 + 5 =, 7, 8\n" * 2,
    "words.csv": "clean,corrupt,answer,wrong_answer\nhello,bye, 7, 8\nhi,bye, 7, 8\n",
    "lengths.csv": "clean,corrupt,answer,wrong_answer\n3,3 + 5 =, 7, 8\n4,3 + 4 =, 7, 8\n",
    "unlike.csv": "clean,corrupt,answer,wrong_answer\n3 + 4 =,3 + 5 =, 8, 7\n"
    "3 + 6 =,3 + 5 =, 8, 9\n",
}
BAD_PAIRS = {
    "nowhere.csv": "no file nowhere.csv",
    "./nowhere": "no folder './nowhere'",
    "iio": "unknown task 'iio': did you mean 'ioi'?",
    "column.csv": "no column 'clean'. It has the columns prompt,",
    "empty.csv": "empty.csv is empty",
    "no_rows.csv": "has no rows",
    "one.csv": "at least two are needed",
    "twice.csv": "rows 0 and 1, from 0, are the same pair",
    "words.csv": "the clean prompt has words that the tokenizer does not know",
    "lengths.csv": "make them equal",
    "unlike.csv": "toy-small cannot do this task: accuracy 0.00",
}


@pytest.mark.parametrize("task", BAD_PAIRS)
def test_pairs_that_cannot_be_transferred(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    models = ("--source", "toy-small", "--target", "toy-large", "--train", "mcqa")
    result = run("transfer", *models, "--task", task, "--pairs", 2, "--out", "out", "--quiet")
    assert result.exit_code == 1
    (line,) = re.findall("^(?:error|warning): .*$", result.output, re.M)
    assert line.startswith("error: ")
    assert BAD_PAIRS[task] in line
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("attribute", "--model", "toy-none", "--task", "ioi", "--out", "x"), 1, "error: no model"),
        (("attribute", "--model", "toy-small"), 2, "Missing option"),
        (("study", "none.yaml", "--out", "x"), 1, "error: none.yaml cannot be read"),
        (("tables", "."), 1, "expected the description of a study"),
        (("nonsense",), 2, "error: No such command 'nonsense'"),
        (("models", "--nonsense"), 2, "error: No such option"),
        (("study", "s.yaml", "--out", "x", "--workers", "-1"), 2, "a whole number from 0, got -1"),
        (
            ("attribute", "--model", "m", "--task", "t", "--out", "x", "--pairs", "two"),
            2,
            "Invalid value for '--pairs': expected a whole number, got 'two' (see dfa-tl attribute",
        ),
        (("report", "nowhere"), 1, "no file nowhere/study.json"),
        (
            ("evaluate", "--model", "toy-small", "--task", "ioi", "--scores", "x", "--grid", "log"),
            1,
            "grid='log': choose one of ",
        ),
        (
            (
                "transfer",
                "--source",
                "a",
                "--target",
                "b",
                "--task",
                "ioi",
                "--out",
                "x",
                "--method",
                "napp",
            ),
            1,
            "unknown method 'napp': choose one of nap,",
        ),
    ],
)
def test_errors(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.output
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
    for name in ("load_model", "load_task", "run_study", "StudyResults"):
        monkeypatch.setattr(f"dfa_tl.{name}", None)
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
        refused("x.csv", "x.csv ends like a file, but several files are written: give a folder")
    refused("file/below/it", "file is a file, where a folder is needed")
    refused("x" * 300, "cannot be written (File name too long)")
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK)
    refused("new/below", f"{nothing_runs} is not writable")
    assert tree(nothing_runs) == before


def test_ctrl_c(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dfa_tl.cli.single.load", interrupted)
    result = run("attribute", *A_MODEL, "--out", tmp_path / "scores.safetensors")
    assert (result.exit_code, result.output) == (130, "interrupted\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_quiet_is_quiet(tmp_path):
    command = [
        "attribute", *A_MODEL, "--method", "nap", "--pairs", "2",
        "--out", str(tmp_path / "scores.safetensors"),
    ]  # fmt: skip
    loud = run(*command)
    assert "it/s" in loud.stderr
    quiet = subprocess.run(
        [*DFA_TL, *command, "--quiet"], capture_output=True, text=True, check=True
    )
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
    assert "Traceback" not in said, said
    assert ended(process.pid)


@pytest.mark.slow
def test_study_and_tables(tmp_path, monkeypatch):
    config = replace(TINY, controls=())
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    plain = AlignJob.run

    def failing(job, store):
        raise RuntimeError("the lights went out")

    monkeypatch.setattr(AlignJob, "run", failing)
    result = run("study", file, "--out", tmp_path / "out", "--quiet")
    assert result.exit_code == 3
    assert "the lights went out" in result.output
    monkeypatch.setattr(AlignJob, "run", plain)
    result = run("study", file, "--out", tmp_path / "out", "--quiet", "--set", "seeds=[0]")
    assert result.exit_code == 0, result.output
    assert "0 failed" in result.output
    assert (tmp_path / "out" / "tables" / "leaderboard.md").is_file()
    result = run("tables", tmp_path / "out", "--show", "leaderboard")
    assert "DFA (zero-shot)" in result.output
