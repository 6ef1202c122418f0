"""The application, and what its commands share: options, settings, errors in one line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.errors import ConfigError, DFAError
from dfa_tl.models.loading import load_model
from dfa_tl.models.wrapper import NodeModel

EXIT_ERROR, EXIT_FAILED_JOBS = 1, 3

app = typer.Typer(
    help="Carry a circuit found in a small language model over to a larger one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ModelName = Annotated[str, typer.Option(help="Bundled name, folder or hub name.")]
Task = Annotated[str, typer.Option(help="One of `dfa-tl tasks`, or a folder of pairs.")]
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


def load(name: str, device: str | None, dtype: str) -> NodeModel:
    """The model that the options name."""
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"dtype={dtype!r}: choose float32, bfloat16 or float16")
    return load_model(name, device=device, dtype=getattr(torch, dtype))


def read_settings(path: Path | None, changes: list[str] | None) -> dict[str, Any]:
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


def alignment_config(path: Path | None, changes: list[str] | None, seed: int) -> AlignmentConfig:
    """Settings of `align` from a file and flags."""
    settings: dict[str, Any] = {"seed": seed} | read_settings(path, changes)
    known = [f.name for f in fields(AlignmentConfig)]
    if unknown := sorted(set(settings) - set(known)):
        raise ConfigError(f"unknown settings {unknown}; align has {', '.join(known)}")
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


if __name__ == "__main__":
    app()
