"""The main job and the README, with no network: hub variables offline, sockets blocked."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import dfa_tl
from dfa_tl import AlignmentConfig

ROOT = Path(__file__).parent.parent
EXAMPLE = str(ROOT / "examples" / "transfer_ioi.py")
ROWS = {
    "gold", "aligned, in-distribution", "aligned, zero-shot", "control: no source",
    "control: random W",
}  # fmt: skip
BLOCKED = """
import runpy, socket, sys
def refuse(*_, **__):
    raise OSError("the network was touched")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def rows_of(table: str) -> dict[str, str]:
    return dict(re.findall(r"^(gold|aligned, \S+|control: .+?)\s+(-?[\d.]+) ", table, re.M))


def check_figure(page: str) -> None:
    assert "gold (CPR" in page
    assert not re.search(r"<script[^>]+src=", page)
    assert not re.search(r"<link[^>]+href=", page)


@pytest.mark.usefixtures("one_thread", "unchecked")
def test_the_example_in_short(tmp_path, monkeypatch, capsys):
    """In this process, with few pairs and two steps of training."""
    monkeypatch.setattr("dfa_tl.alignment.config.DEFAULT_STEPS", 2)
    out = tmp_path / "transfer.html"
    options = ["--pairs", "16", "--method", "nap", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [EXAMPLE, *options])
    runpy.run_path(EXAMPLE, run_name="__main__")
    table = capsys.readouterr().out
    assert set(rows_of(table)) == ROWS
    assert "floor: CPR 0.250" in table
    check_figure(out.read_text())


@pytest.fixture(scope="module")
def main_job(tmp_path_factory):
    out = tmp_path_factory.mktemp("job") / "transfer.html"
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, EXAMPLE, "--out", str(out)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, out


@pytest.mark.slow
def test_the_table(main_job):
    table, out = main_job
    rows = rows_of(table)
    assert set(rows) == ROWS
    assert "floor: CPR 0.250" in table
    assert float(rows["gold"]) > float(rows["control: random W"]) + 0.1
    assert float(rows["aligned, zero-shot"]) > float(rows["control: random W"])
    check_figure(out.read_text())


@pytest.mark.slow
def test_bad_names_end_with_one_line():
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--source", "toy-tiny"], capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("error: no model 'toy-tiny'")


def readme_snippet() -> str:
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return snippet


@pytest.mark.usefixtures("one_thread", "unchecked")
def test_readme_snippet_in_short(monkeypatch, capsys):
    """In this process, with few pairs and two steps of training."""
    short = partial(dfa_tl.align, config=AlignmentConfig(steps=2))
    monkeypatch.setattr(dfa_tl, "align", short)
    monkeypatch.setattr(dfa_tl, "load_task", partial(dfa_tl.load_task, n=4))
    exec(readme_snippet(), {})
    assert "FaithfulnessCurve(toy-large ioi: CPR" in capsys.readouterr().out


@pytest.mark.slow
def test_readme_snippet_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", readme_snippet()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
