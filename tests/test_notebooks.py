"""The notebooks of examples/: their outputs are those of their cells, and show on code hosts.

A digest of the code cells, kept by `docs/make_notebooks.py`, notices at no cost a cell that was
changed and not run; the slow test runs them, and compares what they print.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "docs"))
from make_notebooks import FIGURE, QUIET, code_digest  # noqa: E402

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
IMAGES = ("image/png", "image/jpeg")
FIGURES = {"own_task": 2, "paper_tables": 3, "quickstart": 4}

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(path: Path) -> list:
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(cells: list) -> list:
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_the_three_are_there():
    assert [path.stem for path in NOTEBOOKS] == list(FIGURES)


@each
def test_the_outputs_are_those_of_the_cells(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["dfa_tl"]["outputs_of"] == code_digest(notebook)
    assert [cell.execution_count for cell in code(path)] == list(range(1, len(code(path)) + 1))
    assert "error" not in {output.output_type for output in outputs(code(path))}
    assert path.stat().st_size < 1e6


@each
def test_every_figure_has_an_image(path):
    figures = [output.data for output in outputs(code(path)) if FIGURE in output.get("data", {})]
    assert len(figures) == FIGURES[path.stem]
    for figure in figures:
        (image,) = (base64.b64decode(figure[kind]) for kind in IMAGES if kind in figure)
        assert len(image) > 5_000
        assert image.startswith((b"\x89PNG", b"\xff\xd8"))


@each
def test_no_path_of_a_machine_is_left(path):
    assert not re.search(r"OWNER|/tmp|/home|/root|site-packages", path.read_text())


def test_quickstart_has_nine_cells_of_code():
    assert len(code(ROOT / "examples" / "quickstart.ipynb")) == 9


@each
def test_only_public_names_are_used(path):
    source = "\n".join(cell.source for cell in code(path))
    modules = set(re.findall(r"^(?:from|import) (\S+)", source, re.M))
    assert modules <= {"dfa_tl", "pandas"}


async def executed(path: Path, folder: Path):
    notebook = nbformat.read(path, as_version=4)
    folder.mkdir(parents=True)
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    # One thread each: models so small gain nothing from more, and the kernels run side by side.
    return await client.async_execute(env=os.environ | QUIET | {"OMP_NUM_THREADS": "1"})


def execute_all(folder: Path) -> None:
    """Run the notebooks, each in a folder of its own, and write them with their outputs."""

    async def run_all():
        return await asyncio.gather(*(executed(path, folder / path.stem) for path in NOTEBOOKS))

    for path, notebook in zip(NOTEBOOKS, asyncio.run(run_all()), strict=True):
        nbformat.write(notebook, folder / path.name)


def texts(cells: list) -> list[str]:
    """What the cells print; images, pages and warnings aside."""
    found = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in outputs(cells)
        if output.get("name", "stdout") == "stdout" and FIGURE not in output.get("data", {})
    ]
    return ["".join(text) for text in found]


NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


@pytest.mark.slow
def test_they_run_from_clean_and_print_what_is_kept(notebooks_folder):
    for path in NOTEBOOKS:
        notebook = nbformat.read(notebooks_folder / path.name, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        found = [output.get("data", {}) for output in outputs(cells)]
        assert len([data for data in found if FIGURE in data]) == FIGURES[path.stem]
        kept, now = texts(code(path)), texts(cells)
        assert [NUMBER.sub("#", text).split() for text in now] == [
            NUMBER.sub("#", text).split() for text in kept
        ]
        for before, after in zip(kept, now, strict=True):
            numbers = [[float(one) for one in NUMBER.findall(text)] for text in (before, after)]
            assert numbers[1] == pytest.approx(numbers[0], rel=0.02, abs=0.02)
