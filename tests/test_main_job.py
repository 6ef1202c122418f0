"""The main job and the README, with no network: hub variables offline, sockets blocked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKED = """
import runpy, socket, sys
def refuse(*_, **__):
    raise OSError("the network was touched")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def main_job(tmp_path_factory):
    out = tmp_path_factory.mktemp("job") / "transfer.html"
    script = str(ROOT / "examples" / "transfer_ioi.py")
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, script, "--out", str(out)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def test_the_table(main_job):
    table, _ = main_job
    rows = dict(re.findall(r"^(gold|aligned, \S+|control: .+?)\s+(-?[\d.]+) ", table, re.M))
    assert set(rows) == {
        "gold", "aligned, in-distribution", "aligned, zero-shot", "control: no source",
        "control: random W",
    }  # fmt: skip
    assert "floor: CPR 0.250" in table
    assert float(rows["gold"]) > float(rows["control: random W"]) + 0.1
    assert float(rows["aligned, zero-shot"]) > float(rows["control: random W"])


def test_the_figure_is_self_contained(main_job):
    _, out = main_job
    page = out.read_text()
    assert "gold (CPR" in page
    assert not re.search(r"<script[^>]+src=", page)
    assert not re.search(r"<link[^>]+href=", page)


@pytest.mark.slow
def test_bad_names_end_with_one_line():
    script = str(ROOT / "examples" / "transfer_ioi.py")
    done = subprocess.run(
        [sys.executable, script, "--source", "toy-tiny"], capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("error: no model 'toy-tiny'")


def test_readme_snippet_runs(tmp_path):
    readme = (ROOT / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
