"""Whole studies: `study`, `tables`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import RLock
from typing import Annotated, Any

import typer
from tqdm import tqdm

from dfa_tl.cli.app import (
    EXIT_FAILED_JOBS,
    Quiet,
    Settings,
    command,
    no_loading_bars,
    read_settings,
)
from dfa_tl.cli.output import check_folder
from dfa_tl.errors import ConfigError
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.results import StudyResults
from dfa_tl.study.run import run_study
from dfa_tl.tasks.registry import relations


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
      dfa-tl study study.yaml --out runs/slow --set variants.default.learning_rate=1e-3
    """
    described = StudyConfig.from_dict(_nested(read_settings(config, settings)))
    check_folder(out)
    with _pool(workers, quiet) if workers else nullcontext() as executor:
        results = run_study(described, out, executor, progress=not quiet)
    left = len(results.missing)
    n_jobs = len({job.key for group in results.groups for job in group.jobs})
    typer.echo(f"{n_jobs - left} of {n_jobs} jobs done, {len(results.failures)} failed")
    if results.evaluations:
        typer.echo(f"{len(results.write_tables(out / 'tables'))} files in {out / 'tables'}")
    if results.failures:
        raise typer.Exit(EXIT_FAILED_JOBS)


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with `variants.NAME.SETTING` and `relations.TASK` put where they belong.

    What a study has by default is kept beside them. A name may have points of its own: a variant's
    stands before the last one.
    """
    defaults: dict[str, dict[str, Any]] = {"variants": {"default": {}}, "relations": relations()}
    nested = {name: value for name, value in settings.items() if not _dotted(name, defaults)}
    for name, value in settings.items():
        if not _dotted(name, defaults):
            continue
        outer, _, inner = name.partition(".")
        entries = _entries(outer, nested.get(outer, defaults[outer]))
        variant, _, setting = inner.rpartition(".")
        if outer == "variants" and variant:
            entries[variant] = _entries(f"{outer}.{variant}", entries.get(variant)) | {
                setting: value
            }
        else:
            entries[inner] = value
        nested[outer] = entries
    return nested


def _dotted(name: str, outer: dict[str, Any]) -> bool:
    return "." in name and name.partition(".")[0] in outer


def _entries(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict | None):
        raise ConfigError(f"{name} is {value!r}, which has no entries to change")
    return dict(value or {})


@contextmanager
def _pool(workers: int, quiet: bool) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one, without a word, on Ctrl-C: what they have done is kept."""
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (quiet,)) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            for process in active_children():
                process.terminate()
            raise


def _start_worker(quiet: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Bars of one process need no lock between processes, which would be left behind by its end.
    tqdm.set_lock(RLock())
    if quiet:
        no_loading_bars()


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
    place = out or folder / "tables"
    if show is None:
        check_folder(place)
    results = StudyResults.load(folder)
    if left := len(results.missing):
        typer.echo(
            f"{left} jobs of this study are not done; its tables are of the others", err=True
        )
    if show is None:
        typer.echo(f"{len(results.write_tables(place))} files in {place}")
        return
    found = results.tables()
    if show not in found:
        raise ConfigError(f"no table {show!r}: this study has {', '.join(found)}")
    typer.echo(found[show].to_markdown())
