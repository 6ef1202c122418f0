"""A study as one HTML file: `report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import dfa_tl
import dfa_tl.cli.options as options
from dfa_tl.cli.app import load
from dfa_tl.errors import DFAError
from dfa_tl.io.output import output_file

if TYPE_CHECKING:
    from dfa_tl.models.attention import AttentionPatterns
    from dfa_tl.study.results import StudyResults

NODES = 12  # of each circuit, whose heads are shown


def report(
    folder: options.Study,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file (.html), or a folder for it.  [default: the study's folder]",
        ),
    ] = None,
    attention: Annotated[
        bool | None,
        typer.Option(
            "--attention/--no-attention",
            help="Run the models of the first pair to show what heads look at.  [default: only "
            "where both are bundled]",
            show_default=False,
        ),
    ] = None,
    device: options.Device = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a study as one HTML file.

    It holds all tables and figures, and needs no network.

    Examples:
      dfa-tl report runs/llama
      dfa-tl report runs/llama --out llama.html --attention --device cuda
    """
    from dfa_tl.models.folder import BUNDLED
    from dfa_tl.report import write_report

    file = output_file(out or folder, "report.html")
    results = dfa_tl.StudyResults.load(folder)
    pair = results.config.pairs[0]
    is_bundled = {pair.source, pair.target} <= set(BUNDLED)
    shown = _attention(results, device) if (is_bundled if attention is None else attention) else {}
    typer.echo(write_report(results, file, attention=shown))


def _attention(results: StudyResults, device: str | None) -> dict[str, AttentionPatterns]:
    """What the best heads of the first task's circuit look at, in both models."""
    from dfa_tl.report.findings import regime_of

    config = results.config
    pair, task, method, seed = config.pairs[0], config.tasks[0], config.methods[0], config.seeds[0]
    regime = regime_of(config)
    try:
        source = results.source_scores(pair.name, task, method, seed)
        of_target = results.scores(pair.name, task, method, seed)
        target = next(found for key, found in of_target.items() if key.name == regime)
        prompts = dfa_tl.load_task(task, split=config.test_split, n=1, seed=config.test_seed)
    except DFAError as error:
        typer.echo(f"no attention views: {error}", err=True)
        return {}
    shown = {}
    for name, scores, circuit in (
        (pair.source, source, f"{task} circuit"),
        (pair.target, target, f"{regime} {task} circuit"),
    ):
        model = load(name, device, config.dtype, config.prepend_bos)
        title = f"{name}: heads among the {NODES} best nodes of its {circuit}"
        shown[title] = dfa_tl.attention_patterns(model, prompts, scores.top(NODES))
    return shown
