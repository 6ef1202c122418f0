"""The notebooks of examples/: clean as committed, and run from the first cell to the last.

They are committed without outputs: nothing in them can be out of date, and a change of a notebook
is a change of its source alone. Whoever opens one runs it in seconds.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
FIGURE = "application/vnd.plotly.v1+json"

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def test_the_three_are_there():
    assert [path.stem for path in NOTEBOOKS] == ["own_task", "paper_tables", "quickstart"]


@each
def test_committed_without_outputs(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    for cell in cells(path, "code"):
        assert (cell.outputs, cell.execution_count) == ([], None)


@each
def test_no_placeholder_is_left(path):
    assert "OWNER" not in path.read_text()


def test_quickstart_has_nine_cells_of_code():
    assert len(cells(ROOT / "examples" / "quickstart.ipynb", "code")) == 9


@each
def test_only_public_names_are_used(path):
    code = "\n".join(cell.source for cell in cells(path, "code"))
    modules = set(re.findall(r"^(?:from|import) (\S+)", code, re.M))
    assert modules <= {"dfa_tl", "pandas"}


async def executed(path: Path, folder: Path):
    notebook = nbformat.read(path, as_version=4)
    folder.mkdir(parents=True)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    # One thread each: models so small gain nothing from more, and the kernels run side by side.
    return await client.async_execute(env=os.environ | {"OMP_NUM_THREADS": "1"})


def execute_all(folder: Path) -> None:
    """Run the notebooks, each in a folder of its own, and write them with their outputs."""

    async def run_all():
        return await asyncio.gather(*(executed(path, folder / path.stem) for path in NOTEBOOKS))

    for path, notebook in zip(NOTEBOOKS, asyncio.run(run_all()), strict=True):
        nbformat.write(notebook, folder / path.name)


def test_they_run_from_clean(notebooks_folder):
    done = {
        path.stem: nbformat.read(notebooks_folder / path.name, as_version=4) for path in NOTEBOOKS
    }
    outputs = {
        name: [output for cell in notebook.cells for output in cell.get("outputs", [])]
        for name, notebook in done.items()
    }
    figures = {
        name: [output.data[FIGURE] for output in found if FIGURE in output.get("data", {})]
        for name, found in outputs.items()
    }
    assert {name: len(found) for name, found in figures.items()} == {
        "own_task": 2, "paper_tables": 3, "quickstart": 4,
    }  # fmt: skip
    for name, found in outputs.items():
        assert not [each for each in found if each.output_type == "error"], name
        assert len(str(found)) < 400_000, name  # small enough to be kept, for who wants to
    shown = str(outputs["quickstart"])
    for text in ("NodeScores toy-small ioi", "FaithfulnessCurve toy-large ioi"):
        assert text in shown
    assert "second_operand on toy-small" in str(outputs["own_task"])
    assert "CPR of transferred circuits" in str(outputs["paper_tables"])
