"""The main job in one command: `transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import dfa_tl
import dfa_tl.cli.options as options
from dfa_tl.cli.app import alignment_config, load, load_pairs, print_curve
from dfa_tl.errors import ConfigError
from dfa_tl.io.atomic import write_file
from dfa_tl.io.output import output_folder
from dfa_tl.io.strict_json import json_bytes


def transfer(
    source: options.ModelName,
    target: options.ModelName,
    task: options.Task,
    out: Annotated[Path, typer.Option(help="Folder for scores, alignments and the table.")],
    train: Annotated[
        list[str] | None,
        typer.Option(
            help="Task that W is trained on; may be repeated.  [default: tasks of the same kind: "
            "the benchmark's, the bundled models', or in natural English]",
            show_default=False,
        ),
    ] = None,
    method: options.Method = "nap-ig-inputs",
    config: options.Config = None,
    settings: options.Settings = None,
    pairs: options.Pairs = None,
    attribution_pairs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pairs that scores are attributed on.  [default: as many as --pairs]",
            show_default=False,
        ),
    ] = None,
    test_pairs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pairs to measure circuits on.  [default: 96, or all where there are fewer]",
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 16,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    prepend_bos: options.PrependBos = None,
    quiet: options.Quiet = False,
) -> None:
    r"""Carry a task's circuit over to a larger model, and measure how faithful it is there.

    W is trained on tasks of other families (zero-shot), and again on this task alone
    (in-distribution).
    Both circuits are measured next to gold, attributed on the target itself, and next to a W
    trained without a source (uniform_s). A task that one of the models cannot do is left out.

    Examples:
      dfa-tl transfer --source toy-small --target toy-large --task ioi --out out/ioi
      dfa-tl transfer --source llama3-1b --target llama3-3b --task ./greater_than \
        --train mib/ioi --train mib/mcqa --out out/greater_than
    """
    from dfa_tl.controls.regimes import GOLD, Regime
    from dfa_tl.controls.registry import NO_SOURCE
    from dfa_tl.evaluation.doable import doable_tasks
    from dfa_tl.tasks.registry import family_of, training_tasks

    folder = output_folder(out)
    training = alignment_config(config, settings, seed)
    names = [name for name in dict.fromkeys(train or training_tasks(task)) if name != task]
    if not names:
        raise ConfigError(f"--train names no task but {task!r}; zero-shot W needs another")
    data = {name: load_pairs(name, pairs, seed=seed) for name in (*names, task)}
    test = load_pairs(task, test_pairs, seed=seed, split="test")
    small, large = (load(name, device, dtype, prepend_bos) for name in (source, target))
    data, left_out = doable_tasks(data, [small, large], batch_size=batch_size)
    for name, reason in left_out.items():
        typer.echo(f"{name} is left out: {reason}", err=True)
    if task not in data or len(data) < 2:
        raise ConfigError(
            f"both models must be able to do {task!r} and a task that W is trained on"
        )
    shared: dict[str, Any] = {"batch_size": batch_size, "progress": not quiet}
    attributed = data
    if attribution_pairs is not None:
        attributed = {name: load_pairs(name, attribution_pairs, seed=seed) for name in data}
    source_scores = {
        name: dfa_tl.attribute(small, of_task, method, **shared)
        for name, of_task in attributed.items()
    }
    assert NO_SOURCE.stand_in is not None
    constant = NO_SOURCE.stand_in(small.nodes, tuple(data), seed)
    vectors = {GOLD: dfa_tl.attribute(large, attributed[task], method, **shared)}
    alike = any(family_of(name) == family_of(task) for name in data if name != task)
    unseen = Regime.LEAVE_TASK_OUT if alike else Regime.ZERO_SHOT
    for name, regime, scores in (
        (str(Regime.IN_DISTRIBUTION), Regime.IN_DISTRIBUTION, source_scores),
        (str(unseen), unseen, source_scores),
        (NO_SOURCE.name, unseen, constant),
    ):
        (trained_on,) = regime.train_tasks(task, tuple(data), {})
        alignment = dfa_tl.align(
            {each: scores[each] for each in trained_on},
            large,
            {each: data[each] for each in trained_on},
            training,
            progress=not quiet,
        )
        alignment.save(folder / f"alignment_{name}.safetensors")
        vectors[name] = alignment.transfer(scores[task])
    source_scores[task].save(folder / "source.safetensors")
    for name, vector in vectors.items():
        vector.save(folder / f"scores_{name}.safetensors")
    curves = dfa_tl.evaluate_many(large, test, vectors, **shared)
    table = {}
    for name, by_metric in curves.items():
        curve = by_metric["logit_diff"]
        interval = print_curve(name, curve)
        table[name] = {"cpr": curve.cpr, "low": interval.low, "high": interval.high}
        table[name] |= {"cmd": curve.cmd, "floor": curve.floor}
    content = json_bytes(table, "the table", indent=1, sort_keys=False)
    write_file(folder / "transfer.json", content)
