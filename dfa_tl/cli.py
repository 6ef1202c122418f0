"""`dfa-tl`: the package from a shell.

Exit codes: 0 done; 1 an error, in one line; 2 wrong usage; 3 a study that finished, but with failed
jobs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import fields
from functools import wraps
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml

from dfa_tl.alignment import controls
from dfa_tl.alignment.align import align as train_alignment
from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.attribution.attribute import attribute as attribute_scores
from dfa_tl.errors import ConfigError, DFAError
from dfa_tl.evaluation.evaluate import evaluate_many
from dfa_tl.evaluation.statistics import cpr_interval
from dfa_tl.files import write_aside
from dfa_tl.models.loading import BUNDLED, load_model
from dfa_tl.models.wrapper import NodeModel
from dfa_tl.scores import NodeScores
from dfa_tl.study.config import GRIDS, StudyConfig
from dfa_tl.study.results import StudyResults
from dfa_tl.study.run import run_study
from dfa_tl.tasks import TASKS
from dfa_tl.tasks.metrics import METRICS
from dfa_tl.tasks.registry import load_task

EXIT_ERROR, EXIT_FAILED_JOBS = 1, 3

app = typer.Typer(
    help="Carry a circuit found in a small language model over to a larger one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ModelName = Annotated[str, typer.Option(help="Bundled name, folder or hub name.")]
Method = Annotated[str, typer.Option(help="nap, nap-ig-inputs, nap-ig-activations or exact.")]
Pairs = Annotated[int, typer.Option("--pairs", min=1, help="Pairs per task.")]
Seed = Annotated[int, typer.Option(min=0, help="Of pairs, initialisation and batch order.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pairs per run.")]
Device = Annotated[str | None, typer.Option(help="Default: a GPU when there is one.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Config = Annotated[Path | None, typer.Option(help="YAML file with settings of align.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting, name=value.")]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors are one line and exit code 1."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except DFAError as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(EXIT_ERROR) from error

    # The paragraphs of examples stay as they are written.
    guarded.__doc__ = (function.__doc__ or "").replace("Examples:\n", "\b\nExamples:\n")
    return app.command()(guarded)


def _load(name: str, device: str | None, dtype: str) -> NodeModel:
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"dtype={dtype!r}: choose float32, bfloat16 or float16")
    return load_model(name, device=device, dtype=getattr(torch, dtype))


def _read_settings(path: Path | None, changes: list[str] | None) -> dict[str, Any]:
    """Settings from a YAML file, and changes by flag on top of them."""
    settings: Any = {}
    try:
        if path is not None:
            settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(settings, dict):
            raise ConfigError(f"{path} holds no settings; expected 'name: value' lines")
        for change in changes or []:
            name, equals, value = change.partition("=")
            if not equals:
                raise ConfigError(f"--set {change}: expected name=value")
            settings[name] = yaml.safe_load(value)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"settings cannot be read: {error}") from error
    return settings


def _alignment_config(path: Path | None, changes: list[str] | None, seed: int) -> AlignmentConfig:
    settings: dict[str, Any] = {"seed": seed} | _read_settings(path, changes)
    known = [f.name for f in fields(AlignmentConfig)]
    if unknown := sorted(set(settings) - set(known)):
        raise ConfigError(f"unknown settings {unknown}; align has {', '.join(known)}")
    return AlignmentConfig(**settings)


@command
def models() -> None:
    """List the bundled models; folders and hub names work everywhere they do."""
    for name in BUNDLED:
        model = load_model(name)
        typer.echo(f"{name}: {model.nodes}")


@command
def tasks() -> None:
    """List the generated tasks, with a pair of each."""
    for name in TASKS:
        pair = load_task(name, n=1).pairs[0]
        typer.echo(f"{name}\n  clean    {pair.clean}{pair.answer}")
        typer.echo(f"  corrupt  {pair.corrupt}{pair.wrong_answer}")


@command
def attribute(
    model: ModelName,
    task: Annotated[str, typer.Option(help="One of `dfa-tl tasks`.")],
    out: Annotated[Path, typer.Option(help="File for the scores (.safetensors).")],
    method: Method = "nap-ig-inputs",
    pairs: Pairs = 96,
    seed: Seed = 0,
    ig_steps: Annotated[int, typer.Option(min=1)] = 5,
    ablation: Annotated[str, typer.Option()] = "counterfactual",
    batch_size: BatchSize = 16,
    device: Device = None,
    dtype: Dtype = "float32",
    quiet: Quiet = False,
) -> None:
    """Score every node of a model on a task.

    Examples:
      dfa-tl attribute --model toy-small --task ioi --out source/ioi.safetensors
    """
    scores = attribute_scores(
        _load(model, device, dtype),
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
    quiet: Quiet = False,
) -> None:
    r"""Train W on the tasks that the scores are of.

    Examples:
      dfa-tl align --target toy-large --scores mcqa.safetensors --scores arc_easy.safetensors \
        --set epochs=3 --out alignment.safetensors
    """
    of_task = {}
    for path in scores:
        loaded = NodeScores.load(path)
        of_task[str(loaded.provenance.get("task", ""))] = loaded
    if len(of_task) < len(scores):
        raise ConfigError("two of the scores files are of the same task; give each task once")
    alignment = train_alignment(
        of_task,
        _load(target, device, dtype),
        {task: load_task(task, n=pairs, seed=seed) for task in of_task},
        _alignment_config(config, settings, seed),
        progress=not quiet,
    )
    alignment.save(out)
    typer.echo(f"{alignment}\n{out}")


@command
def evaluate(
    model: ModelName,
    task: Annotated[str, typer.Option(help="Task whose test pairs are measured on.")],
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
    quiet: Quiet = False,
) -> None:
    r"""Measure what circuits recover: CPR and CMD.

    Examples:
      dfa-tl evaluate --model toy-large --task ioi --scores gold.safetensors
      dfa-tl evaluate --model toy-large --task ioi --scores source/ioi.safetensors \
        --alignment alignment.safetensors --grid linear
    """
    for name, given, known in (("grid", grid, GRIDS), ("metric", metric, METRICS)):
        if given not in known:
            raise ConfigError(f"{name}={given!r}: choose one of {', '.join(known)}")
    vectors = {str(path): NodeScores.load(path) for path in scores}
    if alignment is not None:
        mapping = Alignment.load(alignment)
        vectors = {name: mapping.transfer(vector) for name, vector in vectors.items()}
    curves = evaluate_many(
        _load(model, device, dtype),
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


@command
def transfer(
    source: ModelName,
    target: ModelName,
    task: Annotated[str, typer.Option(help="Task whose circuit is carried over.")],
    out: Annotated[Path, typer.Option(help="Folder for scores, alignments and the table.")],
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
    """The main job: carry a task's circuit over and measure it next to gold and uniform s.

    Examples:
      dfa-tl transfer --source toy-small --target toy-large --task ioi --out out/ioi
    """
    small, large = _load(source, device, dtype), _load(target, device, dtype)
    settled = _alignment_config(config, settings, seed)
    train = {name: load_task(name, n=pairs, seed=seed) for name in TASKS}
    if task not in train:
        raise ConfigError(f"unknown task {task!r}: choose one of {', '.join(TASKS)}")
    options: dict[str, Any] = {"batch_size": batch_size, "progress": not quiet}
    known = {name: attribute_scores(small, data, method, **options) for name, data in train.items()}
    others = {name: data for name, data in train.items() if name != task}
    constant = controls.uniform_s(small.nodes)
    alignments = {
        "in-distribution": ({task: known[task]}, {task: train[task]}, known[task]),
        "zero-shot": ({name: known[name] for name in others}, others, known[task]),
        "uniform_s": (dict.fromkeys(others, constant), others, constant),
    }
    vectors = {"gold": attribute_scores(large, train[task], method, **options)}
    for name, (scores, data, given) in alignments.items():
        alignment = train_alignment(scores, large, data, settled, progress=not quiet)
        alignment.save(out / f"alignment_{name}.safetensors")
        vectors[name] = alignment.transfer(given)
    known[task].save(out / "source.safetensors")
    for name, vector in vectors.items():
        vector.save(out / f"scores_{name}.safetensors")
    test = load_task(task, split="test", n=test_pairs, seed=seed)
    curves = evaluate_many(large, test, vectors, **options)
    table = {}
    for name, by_metric in curves.items():
        curve = by_metric["logit_diff"]
        interval = cpr_interval(curve)
        table[name] = {"cpr": curve.cpr, "low": interval.low, "high": interval.high}
        table[name] |= {"cmd": curve.cmd, "floor": curve.floor}
        typer.echo(f"{name}: CPR {interval}, CMD {curve.cmd:.3f}, floor {curve.floor:.3f}")
    write_aside(out / "transfer.json", json.dumps(table, indent=1).encode())


@command
def study(
    config: Annotated[Path, typer.Argument(help="YAML file with the settings of the study.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; run again to resume.")],
    settings: Settings = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 for this one.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Run a study, or what is missing of it, and write its tables.

    Examples:
      dfa-tl study study.yaml --out runs/llama
      dfa-tl study study.yaml --out runs/llama --workers 2 --set "seeds=[0, 1, 2]"
    """
    described = StudyConfig.from_dict(_read_settings(config, settings))
    pool = (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers else nullcontext()
    )
    with pool as executor:
        results = run_study(described, out, executor, progress=not quiet)
    for failure in results.failures:
        typer.echo(f"failed: {failure.job} of {failure.group}\n{failure.traceback}", err=True)
    left = len(results.missing)
    n_jobs = len({job.key for group in results.groups for job in group.jobs})
    typer.echo(f"{n_jobs - left} of {n_jobs} jobs done, {len(results.failures)} failed")
    if results.evaluations:
        typer.echo(f"{len(results.write_tables(out / 'tables'))} files in {out / 'tables'}")
    if results.failures:
        raise typer.Exit(EXIT_FAILED_JOBS)


@command
def tables(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the files.")] = None,
    show: Annotated[str | None, typer.Option(help="Print this table instead.")] = None,
) -> None:
    """Write the tables of a study as .csv, .md and .tex, or print one.

    Examples:
      dfa-tl tables runs/llama --out docs/tables
      dfa-tl tables runs/llama --show leaderboard
    """
    results = StudyResults.load(folder)
    if show is None:
        written = results.write_tables(out or folder / "tables")
        typer.echo(f"{len(written)} files in {out or folder / 'tables'}")
        return
    found = results.tables()
    if show not in found:
        raise ConfigError(f"no table {show!r}: this study has {', '.join(found)}")
    typer.echo(found[show].to_markdown())


@app.callback()
def _main(verbose: Annotated[bool, typer.Option(help="Log more.")] = False) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL)


if __name__ == "__main__":
    app()
