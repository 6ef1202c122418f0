"""The application, and what its commands share: settings, and errors in one line.

PyTorch and Transformers take seconds to import, and `--help` needs neither. Commands therefore call
the package as `dfa_tl.NAME`, which imports on first use, and import the rest inside.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

import dfa_tl
from dfa_tl.cli.options import DEFAULT_PAIRS
from dfa_tl.errors import AlignmentWarning, ConfigError, DFAError
from dfa_tl.settings import check_choice, check_names, parse_yaml, read_yaml

if TYPE_CHECKING:
    from dfa_tl.alignment.config import AlignmentConfig
    from dfa_tl.models.node_model import NodeModel
    from dfa_tl.tasks.pairs import PairDataset

EXIT_ERROR, EXIT_FAILED_JOBS, EXIT_INTERRUPTED = 1, 3, 130


class Commands(TyperGroup):
    """The commands, whose usage errors are one line as well."""

    def main(self, *args: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Run the command that the arguments name."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **options)
        try:
            code = super().main(*args, standalone_mode=False, **options)
        except Exception as error:
            # Typer brings its own copy of Click, whose place depends on the version.
            usage = cast("Any", error)
            if not (hasattr(error, "exit_code") and hasattr(error, "format_message")):
                raise
            code, context = usage.exit_code, getattr(error, "ctx", None)
            if type(error).__name__ == "NoArgsIsHelpError":
                typer.echo(usage.ctx.get_help(), err=True)
            else:
                message = " ".join(usage.format_message().split())
                hint = f" (see {context.command_path} --help)" if context else ""
                typer.echo(f"error: {message.rstrip('.')}{hint}", err=True)
        sys.exit(code or 0)


app = typer.Typer(
    name="dfa-tl",
    cls=Commands,
    help="Carry a circuit found in a small language model over to a larger one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def register(function: Callable[..., None]) -> None:
    """Make a function a command whose errors, and Ctrl-C, are one line and an exit code."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        if kwargs.get("quiet"):
            silence_other_packages()
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                function(*args, **kwargs)
        except DFAError as error:
            typer.echo(f"error: {_on_a_line(str(error))}", err=True)
            raise typer.Exit(EXIT_ERROR) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from error

    # Click keeps the lines of a paragraph that begins with \b.
    guarded.__doc__ = cleandoc(function.__doc__ or "").replace("Examples:\n", "\b\nExamples:\n")
    app.command()(guarded)


def _on_a_line(message: str) -> str:
    first, *more = (" ".join(line.split()) for line in message.splitlines() if line.strip())
    for line in more:
        first += f"{' ' if first.endswith((':', '.')) else '; '}{line}"
    return first


def silence_other_packages() -> None:
    """Switch off the progress bars and messages of the packages that load models and data.

    These read the variables when they are imported, which is later; worker processes inherit them.
    """
    for package in ("HF_HUB", "HF_DATASETS"):
        os.environ[f"{package}_DISABLE_PROGRESS_BARS"] = "1"
    os.environ |= {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    # Without a handler, Python prints the warnings that are logged.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", category=AlignmentWarning)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    typer.echo(f"warning: {_on_a_line(str(message))}", err=True)


def load(name: str, device: str | None, dtype: str, prepend_bos: bool | None = None) -> NodeModel:
    """The model that the options name."""
    return dfa_tl.load_model(name, device=device, dtype=dtype, prepend_bos=prepend_bos)


def load_pairs(task: str, n: int | None, *, seed: int, split: str = "train") -> PairDataset:
    """`n` pairs of a task; by default the usual number, or all where there are fewer."""
    if n is None:
        from dfa_tl.tasks import TASKS

        n = DEFAULT_PAIRS
        if task not in TASKS:
            n = min(n, len(dfa_tl.load_task(task, split=split)))
    return dfa_tl.load_task(task, split=split, n=n, seed=seed)


def grid_named(name: str) -> tuple[float, ...]:
    """The proportions of nodes that `--grid` names."""
    from dfa_tl.study.config import GRIDS

    check_choice("grid", name, GRIDS)
    return GRIDS[name]


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
    check_names(settings, dfa_tl.AlignmentConfig, "align")
    return dfa_tl.AlignmentConfig(**settings)


class _Echo(logging.Handler):
    """Prints each message once, however many jobs log it."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        if message not in self.printed:
            self.printed.add(message)
            typer.echo(message, err=True)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"dfa-tl {dfa_tl.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show other packages' log messages.")
    ] = False,
) -> None:
    if verbose:
        logging.basicConfig(level=logging.INFO)
    else:
        logging.getLogger("dfa_tl").handlers = [_Echo(logging.WARNING)]
