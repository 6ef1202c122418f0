"""Whole studies: `study`, `tables`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

import dfa_tl
import dfa_tl.cli.options as options
from dfa_tl.cli.app import EXIT_FAILED_JOBS, read_settings
from dfa_tl.errors import ConfigError
from dfa_tl.io.atomic import user_path
from dfa_tl.io.output import output_folder


def study(
    config: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML file with the settings of the study.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of the study; run again to resume.")
    ],
    settings: options.Settings = None,
    workers: Annotated[
        int,
        typer.Option(
            parser=options.whole_number(0),
            metavar="N",
            help="Processes that share the work; 0 runs everything in this one.",
        ),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what is left to do and what it will cost.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a study, or resume it.

    It compares methods, tasks, seeds and controls. Its tables are written into the folder.

    Examples:
      dfa-tl study study.yaml --out runs/llama
      dfa-tl study study.yaml --out runs/llama --dry-run
      dfa-tl study study.yaml --out runs/llama --workers 2 --set "seeds=[0, 1, 2]"
      dfa-tl study study.yaml --out runs/slow --set variants.default.learning_rate=1e-3
    """
    from dfa_tl.pool import local_pool
    from dfa_tl.study.estimate import estimate_study

    described = dfa_tl.StudyConfig.from_dict(_nested(read_settings(config, settings)))
    if dry_run:
        typer.echo(estimate_study(described, out))
        return
    folder = output_folder(out)
    with local_pool(workers) if workers else nullcontext() as executor:
        results = dfa_tl.run_study(described, folder, executor, progress=not quiet)
    left = len(results.missing)
    n_jobs = len(results.jobs)
    typer.echo(f"{n_jobs - left} of {n_jobs} jobs done, {len(results.failures)} failed")
    if results.evaluations:
        tables_folder = folder / "tables"
        n_files = len(dfa_tl.analysis.write_tables(results, tables_folder))
        typer.echo(f"{n_files} files in {tables_folder}")
    if results.failures:
        raise typer.Exit(EXIT_FAILED_JOBS)


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with `variants.NAME.SETTING` and `relations.TASK` as nested entries.

    The study's defaults are kept beside them. A variant's name may contain points; the setting
    follows the last one.
    """
    from dfa_tl.tasks.registry import relations

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


def tables(
    folder: options.Study,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder for the files.  [default: tables/ in the study's]"
        ),
    ] = None,
    show: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Print this table instead of writing any.")
    ] = None,
) -> None:
    """Write or print the tables of a study.

    They are written as .csv, .md and .tex.

    Examples:
      dfa-tl tables runs/llama --out docs/tables
      dfa-tl tables runs/llama --show leaderboard
    """
    tables_folder = user_path(folder) / "tables" if out is None else user_path(out)
    if show is None:
        tables_folder = output_folder(tables_folder)
    results = dfa_tl.StudyResults.load(folder)
    if left := len(results.missing):
        typer.echo(f"{left} jobs of this study are not done; the tables show the others", err=True)
    if show is None:
        n_files = len(dfa_tl.analysis.write_tables(results, tables_folder))
        typer.echo(f"{n_files} files in {tables_folder}")
        return
    found = dfa_tl.analysis.all_tables(results)
    if show not in found:
        raise ConfigError(f"no table {show!r}: this study has {', '.join(found)}")
    typer.echo(found[show].to_markdown())
