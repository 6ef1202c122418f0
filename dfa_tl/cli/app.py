"""The application, and what its commands share: options, settings, errors in one line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from huggingface_hub.utils import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.attribution.registry import METHODS
from dfa_tl.errors import ConfigError, DFAError
from dfa_tl.models.loading import load_model
from dfa_tl.models.wrapper import NodeModel
from dfa_tl.settings import check_choice, check_names, parse_yaml, read_yaml

EXIT_ERROR, EXIT_FAILED_JOBS, EXIT_INTERRUPTED = 1, 3, 130

app = typer.Typer(
    help="Carry a circuit found in a small language model over to a larger one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ModelName = Annotated[str, typer.Option(help="Bundled name, folder or hub name.")]
Task = Annotated[str, typer.Option(help="One of `dfa-tl tasks`, or a folder of pairs.")]
Method = Annotated[str, typer.Option(help=", ".join(METHODS))]
Pairs = Annotated[int, typer.Option("--pairs", min=1, help="Pairs per task.")]
Seed = Annotated[int, typer.Option(min=0, help="Of pairs, initialisation and batch order.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pairs per run.")]
Device = Annotated[str | None, typer.Option(help="Default: a GPU when there is one.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Config = Annotated[Path | None, typer.Option(help="YAML file with settings of align.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting, name=value.")]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors, and Ctrl-C, are one line and an exit code."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        if kwargs.get("quiet"):
            no_loading_bars()
        try:
            function(*args, **kwargs)
        except DFAError as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(EXIT_ERROR) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from error

    # The paragraphs of examples stay as they are written.
    guarded.__doc__ = (function.__doc__ or "").replace("Examples:\n", "\b\nExamples:\n")
    return app.command()(guarded)


def no_loading_bars() -> None:
    """Silence the progress bars of the packages that models and data are loaded with."""
    import datasets  # slow to import, and needed by the benchmark's tasks alone

    disable_progress_bar()
    disable_progress_bars()
    datasets.disable_progress_bars()


def load(name: str, device: str | None, dtype: str) -> NodeModel:
    """The model that the options name."""
    check_choice("dtype", dtype, ("float32", "bfloat16", "float16"))
    return load_model(name, device=device, dtype=getattr(torch, dtype))


def read_settings(path: Path | None, changes: list[str] | None) -> dict[str, Any]:
    """Settings from a YAML file, and changes by flag on top of them."""
    settings = {} if path is None else read_yaml(path)
    for change in changes or []:
        name, equals, value = change.partition("=")
        if not equals:
            raise ConfigError(f"--set {change}: expected name=value")
        settings[name] = parse_yaml(value, f"--set {change}")
    return settings


def alignment_config(path: Path | None, changes: list[str] | None, seed: int) -> AlignmentConfig:
    """Settings of `align` from a file and flags."""
    settings: dict[str, Any] = {"seed": seed} | read_settings(path, changes)
    check_names(settings, AlignmentConfig, "align")
    return AlignmentConfig(**settings)


class _Echo(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(self.format(record), err=True)


@app.callback()
def _main(
    verbose: Annotated[bool, typer.Option(help="Log what other packages do, too.")] = False,
) -> None:
    if verbose:
        logging.basicConfig(level=logging.INFO)
    else:
        logging.getLogger("dfa_tl").handlers = [_Echo(logging.WARNING)]
