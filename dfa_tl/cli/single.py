"""One step at a time: `models`, `tasks`, `attribute`, `align`, `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfa_tl.alignment.align import align as train_alignment
from dfa_tl.alignment.alignment import Alignment
from dfa_tl.attribution.attribute import attribute as attribute_scores
from dfa_tl.cli.app import (
    BatchSize,
    Config,
    Device,
    Dtype,
    Method,
    ModelName,
    Pairs,
    PrependBos,
    Quiet,
    Seed,
    Settings,
    Task,
    alignment_config,
    command,
    load,
)
from dfa_tl.cli.output import check_file
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.evaluate import evaluate_many
from dfa_tl.evaluation.statistics import cpr_interval
from dfa_tl.files import write_aside
from dfa_tl.models.loading import BUNDLED, load_model
from dfa_tl.scores import NodeScores
from dfa_tl.settings import check_choice
from dfa_tl.study.config import GRIDS
from dfa_tl.tasks import TASKS
from dfa_tl.tasks.metrics import METRICS
from dfa_tl.tasks.mib import SOURCES
from dfa_tl.tasks.registry import load_task


@command
def models(quiet: Quiet = False) -> None:
    """List the bundled models; folders and hub names work everywhere they do.

    Examples:
      dfa-tl models --quiet
    """
    for name in BUNDLED:
        model = load_model(name)
        typer.echo(f"{name}: {model.nodes}")


@command
def tasks() -> None:
    """List the tasks that have a name; a folder with train.csv and test.csv is one of your own.

    Examples:
      dfa-tl tasks
    """
    for name in TASKS:
        pair = load_task(name, n=1).pairs[0]
        typer.echo(f"{name}\n  clean    {pair.clean}{pair.answer}")
        typer.echo(f"  corrupt  {pair.corrupt}{pair.wrong_answer}")
    for name, task in SOURCES.items():
        typer.echo(f"{name}\n  from     {task.source} on the Hugging Face hub")


@command
def attribute(
    model: ModelName,
    task: Task,
    out: Annotated[Path, typer.Option(help="File for the scores (.safetensors).")],
    method: Method = "nap-ig-inputs",
    pairs: Pairs = 96,
    seed: Seed = 0,
    ig_steps: Annotated[int, typer.Option(min=1)] = 5,
    ablation: Annotated[str, typer.Option()] = "counterfactual",
    batch_size: BatchSize = 16,
    device: Device = None,
    dtype: Dtype = "float32",
    prepend_bos: PrependBos = None,
    quiet: Quiet = False,
) -> None:
    """Score every node of a model on a task.

    Examples:
      dfa-tl attribute --model toy-small --task ioi --out source/ioi.safetensors
      dfa-tl attribute --model gpt2-small --task ./greater_than --out greater_than.safetensors
    """
    check_file(out)
    scores = attribute_scores(
        load(model, device, dtype, prepend_bos),
        load_task(task, n=pairs, seed=seed),
        method,
        ig_steps=ig_steps,
        ablation=ablation,
        batch_size=batch_size,
        progress=not quiet,
    )
    scores.save(out)
    typer.echo(f"{scores}\n{out}")


@command
def align(
    target: ModelName,
    scores: Annotated[list[Path], typer.Option(help="Source scores; once per training task.")],
    out: Annotated[Path, typer.Option(help="File for the alignment (.safetensors).")],
    config: Config = None,
    settings: Settings = None,
    pairs: Pairs = 96,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = "float32",
    prepend_bos: PrependBos = None,
    quiet: Quiet = False,
) -> None:
    r"""Train W on the tasks that the scores are of.

    Examples:
      dfa-tl align --target toy-large --scores mcqa.safetensors --scores arc_easy.safetensors \
        --set epochs=3 --out alignment.safetensors
    """
    check_file(out)
    settled = alignment_config(config, settings, seed)
    of_task = {}
    for path in scores:
        loaded = NodeScores.load(path)
        of_task[str(loaded.provenance.get("task", ""))] = loaded
    if len(of_task) < len(scores):
        raise ConfigError("two of the scores files are of the same task; give each task once")
    alignment = train_alignment(
        of_task,
        load(target, device, dtype, prepend_bos),
        {task: load_task(task, n=pairs, seed=seed) for task in of_task},
        settled,
        progress=not quiet,
    )
    alignment.save(out)
    typer.echo(f"{alignment}\n{out}")


@command
def evaluate(
    model: ModelName,
    task: Task,
    scores: Annotated[list[Path], typer.Option(help="Scores of this model's nodes.")],
    alignment: Annotated[
        Path | None, typer.Option(help="The scores are a source's: transfer them first.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="nodes or mib.")] = "nodes",
    grid: Annotated[str, typer.Option(help="linear or mib.")] = "mib",
    metric: Annotated[str, typer.Option(help=", ".join(METRICS))] = "logit_diff",
    absolute: Annotated[bool, typer.Option(help="Rank by absolute score.")] = False,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    pairs: Pairs = 96,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="File for the curves (.csv).")] = None,
    batch_size: BatchSize = 16,
    device: Device = None,
    dtype: Dtype = "float32",
    prepend_bos: PrependBos = None,
    quiet: Quiet = False,
) -> None:
    r"""Measure what circuits recover: CPR and CMD.

    Examples:
      dfa-tl evaluate --model toy-large --task ioi --scores gold.safetensors
      dfa-tl evaluate --model toy-large --task ioi --scores source/ioi.safetensors \
        --alignment alignment.safetensors --grid linear
    """
    if out is not None:
        check_file(out)
    check_choice("grid", grid, GRIDS)
    check_choice("metric", metric, METRICS)
    vectors = {str(path): NodeScores.load(path) for path in scores}
    if alignment is not None:
        mapping = Alignment.load(alignment)
        vectors = {name: mapping.transfer(vector) for name, vector in vectors.items()}
    curves = evaluate_many(
        load(model, device, dtype, prepend_bos),
        load_task(task, split=split, n=pairs, seed=seed),
        vectors,
        protocol=protocol,
        ks=GRIDS[grid],
        metrics={metric: METRICS[metric]},
        absolute=absolute,
        batch_size=batch_size,
        progress=not quiet,
    )
    lines = ["scores,k,n_kept,faithfulness"]
    for name, by_metric in curves.items():
        curve = by_metric[metric]
        typer.echo(
            f"{name}: CPR {cpr_interval(curve)}, CMD {curve.cmd:.3f}, floor {curve.floor:.3f}"
        )
        points = zip(curve.ks, curve.n_kept, curve.faithfulness, strict=True)
        lines += [f"{name},{k},{n},{f:.6g}" for k, n, f in points]
    if out is not None:
        write_aside(out, ("\n".join(lines) + "\n").encode())
