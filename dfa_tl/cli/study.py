"""Whole studies: `study`, `tables`."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

from dfa_tl.cli.app import EXIT_FAILED_JOBS, Quiet, Settings, command, read_settings
from dfa_tl.errors import ConfigError
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.results import StudyResults
from dfa_tl.study.run import run_study


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
    described = StudyConfig.from_dict(read_settings(config, settings))
    pool = (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers else nullcontext()
    )
    with pool as executor:
        results = run_study(described, out, executor, progress=not quiet)
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
