"""What `transfer` writes and prints: two figures, the numbers, the nodes, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

from dfa_tl.controls.regimes import GOLD
from dfa_tl.controls.registry import NO_SOURCE, RANDOM
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.intervals import Interval, cpr_difference_interval, cpr_interval
from dfa_tl.io.atomic import write_file
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.scores import NodeScores
from dfa_tl.viz.circuit_overlap import circuit_overlap
from dfa_tl.viz.export import save_figure
from dfa_tl.viz.faithfulness_curves import draw_panels
from dfa_tl.viz.kept_slider import slider_steps
from dfa_tl.viz.theme import circuit_label, circuit_style

TOP = 10


@dataclass(frozen=True)
class Transferred:
    """The circuits of one transfer, and their curves on the test pairs.

    Attributes:
        task: The task.
        title: Of the figures: models, method and number of test pairs.
        regime: The name of the transferred circuit whose W did not see the task.
        scores: Scores of the target's nodes, by the name of the circuit.
        curves: The curve of each.
        random: Curves of random W, one for each draw.
    """

    task: str
    title: str
    regime: str
    scores: dict[str, NodeScores]
    curves: dict[str, FaithfulnessCurve]
    random: Sequence[FaithfulnessCurve]

    def write(self, file: Path) -> None:
        """Write the numbers as JSON."""
        table: dict[str, dict[str, Any]] = {}
        for name, curve in self.curves.items():
            interval = cpr_interval(curve)
            table[name] = {"cpr": curve.cpr, "low": interval.low, "high": interval.high}
            table[name] |= {"cmd": curve.cmd, "floor": curve.floor}
        table[RANDOM.name] = {
            "cpr": _mean([curve.cpr for curve in self.random]),
            "cmd": _mean([curve.cmd for curve in self.random]),
            "floor": self.random[0].floor,
            "draws": len(self.random),
        }
        write_file(file, json_bytes(table, "the table", indent=1, sort_keys=False))


def write_figures(result: Transferred, folder: Path) -> None:
    """Write `curves.html` and `circuit.html`."""
    curves = {circuit_label(name): curve for name, curve in result.curves.items()}
    styles = {circuit_label(name): circuit_style(name) for name in (*result.curves, RANDOM.name)}
    figure = draw_panels(
        {result.task: {**curves, RANDOM.label: result.random}},
        styles,
        bands=None,
        log_k=None,
        title=result.title,
    )
    save_figure(figure, folder / "curves.html")
    curve = result.curves[result.regime]
    ks = [k for k, n_kept in zip(curve.ks, curve.n_kept, strict=True) if n_kept]
    first = slider_steps(None, ks, result.curves[GOLD])  # where gold recovers most of the behaviour
    circuit = circuit_overlap(
        result.scores[GOLD],
        result.scores[result.regime],
        curve=curve,
        k=first.ks[first.active],
        ks=ks,
    )
    save_figure(circuit, folder / "circuit.html")


def print_result(result: Transferred, folder: Path) -> None:
    """Print the numbers, the best nodes of the transferred circuit, and where the figures are."""
    rows = [("", "CPR, 95 % over pairs", "CMD")]
    for name, curve in result.curves.items():
        rows.append((circuit_label(name), _text(cpr_interval(curve)), f"{curve.cmd:.2f}"))
    cprs, cmds = ([getattr(c, name) for c in result.random] for name in ("cpr", "cmd"))
    mean = f"{_mean(cprs):.2f} ({min(cprs):.2f} to {max(cprs):.2f})"
    rows.append((f"{RANDOM.label}, {len(cprs)} draws", mean, f"{_mean(cmds):.2f}"))
    ours = result.curves[result.regime]
    rows.append(("floor", f"{ours.floor:.2f}", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    typer.echo("")
    for name, cpr, cmd in rows:
        typer.echo(f"{name:{widths[0]}}  {cpr:{widths[1]}}  {cmd}".rstrip())
    gain = cpr_difference_interval(ours, result.curves[NO_SOURCE.name])
    verdict = "above 0" if gain.low > 0 else "so it is not shown that the source helps"
    compared = f"{circuit_label(result.regime)} minus {NO_SOURCE.label}"
    typer.echo(f"\nCPR of {compared}: {_text(gain, '+')}, {verdict}")
    best = result.scores[result.regime].top(TOP)
    shared = len({*best} & {*result.scores[GOLD].top(TOP)})
    typer.echo(f"Top nodes: {', '.join(map(str, best))} ({shared} of them in gold's top {TOP})")
    typer.echo(f"Figures: {folder / 'curves.html'}, {folder / 'circuit.html'}")


def next_command(context: typer.Context, **changes: object) -> str:
    """The command that was called, with other values of some options."""
    words = ["dfa-tl", str(context.info_name)]
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        value = changes.get(name, context.params.get(name))
        if name not in changes and (source is None or source.name != "COMMANDLINE"):
            continue
        if isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            for each in value if isinstance(value, (list, tuple)) else [value]:
                words += [parameter.opts[0], str(each)]
    return shlex.join(words)


def _text(interval: Interval, sign: str = "") -> str:
    low, estimate, high = (
        f"{value:{sign}.2f}" for value in (interval.low, interval.estimate, interval.high)
    )
    return f"{estimate} [{low}, {high}]"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
