"""The main job in one command: `transfer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dfa_tl import controls
from dfa_tl.alignment.align import align
from dfa_tl.attribution.attribute import attribute
from dfa_tl.cli.app import (
    BatchSize,
    Config,
    Device,
    Dtype,
    Method,
    ModelName,
    Pairs,
    Quiet,
    Seed,
    Settings,
    Task,
    alignment_config,
    command,
    load,
)
from dfa_tl.cli.output import check_folder
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.evaluate import evaluate_many
from dfa_tl.evaluation.statistics import cpr_interval
from dfa_tl.files import write_aside
from dfa_tl.tasks import MIB_TASKS, TASKS
from dfa_tl.tasks.registry import load_task


@command
def transfer(
    source: ModelName,
    target: ModelName,
    task: Task,
    out: Annotated[Path, typer.Option(help="Folder for scores, alignments and the table.")],
    train: Annotated[
        list[str] | None,
        typer.Option(
            help="A task that W is trained on; once per task. Default: the generated tasks, or "
            "the benchmark's for one of the benchmark's."
        ),
    ] = None,
    method: Method = "nap-ig-inputs",
    config: Config = None,
    settings: Settings = None,
    pairs: Pairs = 96,
    test_pairs: Annotated[int, typer.Option(min=1)] = 96,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    device: Device = None,
    dtype: Dtype = "float32",
    quiet: Quiet = False,
) -> None:
    r"""The main job: carry a task's circuit over and measure it next to gold and uniform s.

    W is trained on other tasks (zero-shot), and once more on this one alone (in-distribution).

    Examples:
      dfa-tl transfer --source toy-small --target toy-large --task ioi --out out/ioi
      dfa-tl transfer --source llama3-1b --target llama3-3b --task ./greater_than \
        --train mib/ioi --train mib/mcqa --out out/greater_than
    """
    check_folder(out)
    settled = alignment_config(config, settings, seed)
    known_tasks = MIB_TASKS if task.startswith("mib/") else TASKS
    others = {
        name: load_task(name, n=pairs, seed=seed) for name in train or known_tasks if name != task
    }
    if not others:
        raise ConfigError(f"--train names no task but {task!r}; zero-shot W needs another")
    data = others | {task: load_task(task, n=pairs, seed=seed)}
    test = load_task(task, split="test", n=test_pairs, seed=seed)
    small, large = load(source, device, dtype), load(target, device, dtype)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": not quiet}
    known = {name: attribute(small, of_task, method, **options) for name, of_task in data.items()}
    constant = controls.uniform_s(small.nodes)
    alignments = {
        "in-distribution": ({task: known[task]}, {task: data[task]}, known[task]),
        "zero-shot": ({name: known[name] for name in others}, others, known[task]),
        "uniform_s": (dict.fromkeys(others, constant), others, constant),
    }
    vectors = {"gold": attribute(large, data[task], method, **options)}
    for name, (scores, trained_on, given) in alignments.items():
        alignment = align(scores, large, trained_on, settled, progress=not quiet)
        alignment.save(out / f"alignment_{name}.safetensors")
        vectors[name] = alignment.transfer(given)
    known[task].save(out / "source.safetensors")
    for name, vector in vectors.items():
        vector.save(out / f"scores_{name}.safetensors")
    curves = evaluate_many(large, test, vectors, **options)
    table = {}
    for name, by_metric in curves.items():
        curve = by_metric["logit_diff"]
        interval = cpr_interval(curve)
        table[name] = {"cpr": curve.cpr, "low": interval.low, "high": interval.high}
        table[name] |= {"cmd": curve.cmd, "floor": curve.floor}
        typer.echo(f"{name}: CPR {interval}, CMD {curve.cmd:.3f}, floor {curve.floor:.3f}")
    write_aside(out / "transfer.json", json.dumps(table, indent=1).encode())
