"""One step at a time: `models`, `tasks`, `methods`, `pairs`, `attribute`, `align`, `evaluate`."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

import dfa_tl
import dfa_tl.cli.options as options
from dfa_tl.cli.app import alignment_config, grid_named, load, load_pairs
from dfa_tl.errors import ConfigError
from dfa_tl.io.atomic import write_file
from dfa_tl.io.output import output_file
from dfa_tl.settings import check_choice


def models(
    words: Annotated[
        bool, typer.Option("--words", help="List the words that they know, and no models.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """List the bundled models, or their vocabulary.

    A folder, a GGUF file and a hub name are models too, wherever a command asks for one.

    Examples:
      dfa-tl models --quiet
      dfa-tl models --words
    """
    from dfa_tl.models.folder import BUNDLED
    from dfa_tl.tasks.registry import WORDS

    if words:
        numbers = sorted(int(word) for word in WORDS if word.isdigit())
        others = sorted((word for word in WORDS if not word.isdigit()), key=str.swapcase)
        text = f"{numbers[0]} to {numbers[-1]} {' '.join(others)}"
        typer.echo(fill(text, 100, break_on_hyphens=False))
        return
    for name in BUNDLED:
        typer.echo(f"{name}: {dfa_tl.load_model(name).nodes}")


def tasks() -> None:
    """List the built-in tasks, with an example of each.

    Examples:
      dfa-tl tasks
    """
    from dfa_tl.tasks import TASKS
    from dfa_tl.tasks.sources.mib import SOURCES

    for name, task in TASKS.items():
        pair = dfa_tl.load_task(name, n=1).pairs[0]
        typer.echo(f"{name}{' (for the bundled models)' if task.is_toy else ''}")
        typer.echo(f"  clean    {pair.clean}{pair.answer}")
        typer.echo(f"  corrupt  {pair.corrupt}{pair.wrong_answer}")
    for name, task in SOURCES.items():
        typer.echo(f"{name}\n  from     {task.source} on the Hugging Face hub")


def methods() -> None:
    """List the attribution methods.

    Examples:
      dfa-tl methods
    """
    from dfa_tl.attribution.registry import METHODS

    for method in METHODS.values():
        typer.echo(f"{method.name}\n  {method.description}")


def pairs(
    model: options.ModelName,
    task: options.Task,
    pairs: options.Pairs = None,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="Pairs to show: train, validation or test.")
    ] = "train",
    seed: options.Seed = 0,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    prepend_bos: options.PrependBos = None,
    quiet: options.Quiet = False,
) -> None:
    """Show how a model reads pairs, and whether it can do the task.

    The tokens that differ between the clean and the corrupt prompt are in brackets. m is the logit
    difference, answer minus wrong answer, on the clean and on the corrupt prompt.

    Examples:
      dfa-tl pairs --model toy-small --task ioi --pairs 3
      dfa-tl pairs --model toy-large --task pairs.csv --quiet
    """
    data = load_pairs(task, pairs, seed=seed, split=split)
    typer.echo(dfa_tl.report_pairs(load(model, device, dtype, prepend_bos), data))


def attribute(
    model: options.ModelName,
    task: options.Task,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="File for the scores (.safetensors), or a folder."),
    ],
    method: options.Method = "nap-ig-inputs",
    pairs: options.Pairs = None,
    seed: options.Seed = 0,
    ig_steps: Annotated[
        int,
        typer.Option(
            parser=options.whole_number(1), metavar="N", help="Steps of integrated gradients."
        ),
    ] = 5,
    ablation: Annotated[
        str,
        typer.Option(
            metavar="ABLATION",
            help="What a removed node's activation becomes: counterfactual, zero, mean or "
            "mean-positional.",
        ),
    ] = "counterfactual",
    batch_size: options.BatchSize = 16,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    prepend_bos: options.PrependBos = None,
    quiet: options.Quiet = False,
) -> None:
    """Score every node of a model on a task.

    Examples:
      dfa-tl attribute --model toy-small --task ioi --out source/ioi.safetensors
      dfa-tl attribute --model gpt2-small --task ./greater_than --out greater_than.safetensors
    """
    file = output_file(out, "scores.safetensors")
    scores = dfa_tl.attribute(
        load(model, device, dtype, prepend_bos),
        load_pairs(task, pairs, seed=seed),
        method,
        ig_steps=ig_steps,
        ablation=ablation,
        batch_size=batch_size,
        progress=not quiet,
    )
    scores.save(file)
    typer.echo(f"{scores}\n{file}")


def align(
    target: options.ModelName,
    scores: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", help="File of source scores; repeat it for each training task."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="File for the alignment (.safetensors), or a folder."),
    ],
    config: options.Config = None,
    settings: options.Settings = None,
    pairs: options.Pairs = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    prepend_bos: options.PrependBos = None,
    quiet: options.Quiet = False,
) -> None:
    r"""Train W on the tasks of the given scores.

    Examples:
      dfa-tl align --target toy-large --scores mcqa.safetensors --scores arc_easy.safetensors \
        --set epochs=3 --out alignment.safetensors
    """
    file = output_file(out, "alignment.safetensors")
    settled = alignment_config(config, settings, seed)
    of_task = {}
    for path in scores:
        loaded = dfa_tl.NodeScores.load(path)
        of_task[str(loaded.provenance.get("task", ""))] = loaded
    if len(of_task) < len(scores):
        raise ConfigError("two of the scores files belong to the same task; give each task once")
    alignment = dfa_tl.align(
        of_task,
        load(target, device, dtype, prepend_bos),
        {task: load_pairs(task, pairs, seed=seed) for task in of_task},
        settled,
        progress=not quiet,
    )
    alignment.save(file)
    typer.echo(f"{alignment}\n{file}")


def evaluate(
    model: options.ModelName,
    task: options.Task,
    scores: Annotated[
        list[Path],
        typer.Option(metavar="FILE", help="File of scores of this model's nodes; may be repeated."),
    ],
    alignment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File of an alignment that carries the scores over to this model first.",
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option(metavar="PROTOCOL", help="Protocol of evaluation: nodes or mib.")
    ] = "nodes",
    grid: options.Grid = "linear",
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC", help="Metric: logit_diff, prob_diff, log_prob, kl or accuracy."
        ),
    ] = "logit_diff",
    absolute: Annotated[bool, typer.Option(help="Rank nodes by absolute score.")] = False,
    split: Annotated[
        str,
        typer.Option(metavar="SPLIT", help="Pairs to measure on: train, validation or test."),
    ] = "test",
    pairs: options.Pairs = None,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File for the curves (.csv), or a folder."),
    ] = None,
    batch_size: options.BatchSize = 16,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    prepend_bos: options.PrependBos = None,
    quiet: options.Quiet = False,
) -> None:
    r"""Measure what circuits recover: CPR and CMD.

    Examples:
      dfa-tl evaluate --model toy-large --task ioi --scores gold.safetensors
      dfa-tl evaluate --model toy-large --task ioi --scores source/ioi.safetensors \
        --alignment alignment.safetensors --grid mib
    """
    from dfa_tl.evaluation.intervals import cpr_interval
    from dfa_tl.tasks.metrics import METRICS

    file = None if out is None else output_file(out, "curves.csv")
    ks = grid_named(grid)
    check_choice("metric", metric, METRICS)
    vectors = {str(path): dfa_tl.NodeScores.load(path) for path in scores}
    if alignment is not None:
        mapping = dfa_tl.Alignment.load(alignment)
        vectors = {name: mapping.transfer(vector) for name, vector in vectors.items()}
    curves = dfa_tl.evaluate_many(
        load(model, device, dtype, prepend_bos),
        load_pairs(task, pairs, seed=seed, split=split),
        vectors,
        protocol=protocol,
        ks=ks,
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
    if file is not None:
        write_file(file, ("\n".join(lines) + "\n").encode())
