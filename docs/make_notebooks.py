"""Run the notebooks of examples/, and keep their outputs in them.

    python docs/make_notebooks.py                  all of them
    python docs/make_notebooks.py quickstart       some of them

Figures are kept twice: as plotly's own data, for Jupyter, and as an image, for code hosts. This
needs the extras `notebooks` and `export`, and Chromium. Run it again after a change to a notebook
or to what it shows; the tests notice both.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
FIGURE = "application/vnd.plotly.v1+json"
LARGE = 150_000  # characters of an image in a notebook
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def code_digest(notebook: nbformat.NotebookNode) -> str:
    """What the outputs belong to: a digest of the code cells."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def shrink_image(data: dict[str, Any]) -> None:
    """Replace an image of many overlapping colours, which is large as a PNG, by a JPEG."""
    if len(data.get("image/png", "")) > LARGE:
        figure = go.Figure({part: data[FIGURE][part] for part in ("data", "layout")})
        data["image/jpeg"] = base64.b64encode(figure.to_image("jpeg")).decode()
        del data["image/png"]


def run(path: Path) -> None:
    """Run a notebook in an empty folder, and write it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute(
            env=os.environ
            | QUIET
            | {
                "PLOTLY_RENDERER": "plotly_mimetype+png",
                "PYTHONPATH": os.pathsep.join(
                    [str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")]
                ),
            }
        )
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs if output.get("name", "stdout") == "stdout"
            ]
            for output in cell.outputs:
                shrink_image(output.get("data", {}))
    notebook.metadata = {
        "kernelspec": notebook.metadata.kernelspec,
        "language_info": {"name": "python"},
        "dfa_tl": {"outputs_of": code_digest(notebook)},
    }
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Run those that are asked for."""
    names = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))
    parser = argparse.ArgumentParser(description="Run the notebooks, and keep their outputs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"no notebook {', '.join(unknown)}: choose one of {', '.join(names)}")
    for name in arguments.names or names:
        run(EXAMPLES / f"{name}.ipynb")


if __name__ == "__main__":
    main()
