"""The main job in one command: `transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import dfa_tl
import dfa_tl.cli.options as options
from dfa_tl.cli.app import alignment_config, grid_named, load, load_pairs
from dfa_tl.errors import ConfigError
from dfa_tl.io.output import output_folder

if TYPE_CHECKING:
    from dfa_tl.models.node_model import NodeModel
    from dfa_tl.tasks.pairs import PairDataset

RANDOM_DRAWS = 5


def transfer(
    context: typer.Context,
    source: options.ModelName,
    target: options.ModelName,
    task: options.Task,
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder for figures, numbers, scores and alignments."),
    ],
    train: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK",
            help="Task that W is trained on; may be repeated.  [default: tasks of other families: "
            "the benchmark's, the bundled models', or in natural English]",
        ),
    ] = None,
    method: options.Method = "nap-ig-inputs",
    config: options.Config = None,
    settings: options.Settings = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            parser=options.whole_number(1),
            metavar="N",
            help="Training pairs per task, or all where there are fewer.  "
            f"[default: {options.DEFAULT_PAIRS}]",
            show_default=False,
        ),
    ] = None,
    attribution_pairs: Annotated[
        int | None,
        typer.Option(
            parser=options.whole_number(1),
            metavar="N",
            help="Training pairs that scores are attributed on.  [default: as many as --pairs]",
        ),
    ] = None,
    test_pairs: Annotated[
        int | None,
        typer.Option(
            parser=options.whole_number(1),
            metavar="N",
            help="Pairs to measure circuits on.  "
            f"[default: {options.DEFAULT_PAIRS}, or all where there are fewer]",
        ),
    ] = None,
    grid: options.Grid = "linear",
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 16,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    prepend_bos: options.PrependBos = None,
    quiet: options.Quiet = False,
) -> None:
    r"""Carry a task's circuit over to another model.

    W is trained on tasks of other families (zero-shot), and again on this task alone
    (in-distribution). Both circuits are measured next to gold, which is attributed on the target
    itself, to a W that is trained without a source, and to random W. The folder gets curves.html,
    circuit.html and transfer.json. A training task that one of the models cannot do is left out,
    with a message.

    Examples:
      dfa-tl transfer --source toy-small --target toy-large --task ioi --out out/ioi
      dfa-tl transfer --source toy-small --target toy-large --task pairs.csv --out out/mine
      dfa-tl transfer --source llama3-1b --target llama3-3b --task pairs.csv --dtype auto \
        --out out/llama
    """
    from dfa_tl.attribution.registry import METHODS
    from dfa_tl.cli.transfer_output import Transferred, next_command, print_result, write_figures
    from dfa_tl.controls.regimes import GOLD, Regime
    from dfa_tl.controls.registry import NO_SOURCE
    from dfa_tl.evaluation.doable import doable_tasks
    from dfa_tl.models.folder import BUNDLED
    from dfa_tl.tasks.registry import family_of, training_tasks

    folder = output_folder(out)
    METHODS.find(method)
    training, ks = alignment_config(config, settings, seed), grid_named(grid)
    toy = {source, target} <= set(BUNDLED)
    names = [name for name in dict.fromkeys(train or training_tasks(task, toy=toy)) if name != task]
    if not names:
        raise ConfigError(f"--train names no task but {task!r}; zero-shot W needs another")
    data = {name: _at_most(pairs, name, seed) for name in (task, *names)}
    test = load_pairs(task, test_pairs, seed=seed, split="test")
    models = small, large = [load(name, device, dtype, prepend_bos) for name in (source, target)]
    _check_doable(data[task], models, batch_size)
    others = {name: data[name] for name in names}
    others, left_out = doable_tasks(others, models, batch_size=batch_size)
    for name, reason in left_out.items():
        typer.echo(f"{name} is left out: {reason}", err=True)
    if not others:
        raise ConfigError(
            "the models can do none of the tasks that W is trained on; name others with --train"
        )
    data = {task: data[task], **others}
    sizes = " or ".join(map(str, sorted({len(of_task) for of_task in others.values()})))
    typer.echo(
        f"{task}: {_size(data[task], small)} train and {_size(test, large)} test pairs. W is "
        f"trained on {sizes} pairs each of {', '.join(others)}."
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
    alike = any(family_of(name) == family_of(task) for name in others)
    unseen = Regime.LEAVE_TASK_OUT if alike else Regime.ZERO_SHOT
    for name, regime, scores in (
        (str(unseen), unseen, source_scores),
        (str(Regime.IN_DISTRIBUTION), Regime.IN_DISTRIBUTION, source_scores),
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
    random = {
        str(draw): dfa_tl.controls.random_W(
            small.nodes, large.nodes, dfa_tl.AlignmentConfig.paper(seed=seed + draw)
        ).transfer(source_scores[task])
        for draw in range(RANDOM_DRAWS)
    }
    measured = dfa_tl.evaluate_many(large, test, vectors | random, ks=ks, **shared)
    curves = {name: by_metric["logit_diff"] for name, by_metric in measured.items()}
    result = Transferred(
        task=task,
        title=f"{small.name} to {large.name}: {method}, {_size(test, large)} test pairs",
        regime=str(unseen),
        scores=vectors,
        curves={name: curves[name] for name in vectors},
        random=[curves[draw] for draw in random],
    )
    result.write(folder / "transfer.json")
    write_figures(result, folder)
    print_result(result, folder)
    again = next_command(context, seed=seed + 1, out=f"{out}_seed{seed + 1}")
    typer.echo(f"Next, see whether it holds for another seed:\n  {again}")


def _at_most(n: int | None, task: str, seed: int) -> PairDataset:
    """Train pairs of a task: all that it holds, where that is fewer than `n`."""
    from dfa_tl.tasks import TASKS

    if n is not None and task not in TASKS:
        n = min(n, len(dfa_tl.load_task(task)))
    return load_pairs(task, n, seed=seed)


def _size(data: PairDataset, model: NodeModel) -> int:
    """How many pairs the model's tokenizer can use."""
    return len(data.tokenize(model))


def _check_doable(data: PairDataset, models: list[NodeModel], batch_size: int) -> None:
    """Raise `ConfigError` unless both models do better than chance; warn where they are not good.

    The task itself is not held to the accuracy that training tasks must have.
    """
    from dfa_tl.tasks.metrics import DONE

    for model in models:
        report = dfa_tl.report_pairs(model, data, batch_size=batch_size)
        if report.warning:
            why = "" if report.rows else f", {report.dropped[0]}"
            raise ConfigError(
                f"{data.name} cannot be transferred: {report.warning}{why}. `dfa-tl pairs` shows "
                f"how {model.name} reads them"
            )
        if report.accuracy < DONE:
            typer.echo(
                f"warning: {model.name} is right on only {report.accuracy:.0%} of the train pairs",
                err=True,
            )
