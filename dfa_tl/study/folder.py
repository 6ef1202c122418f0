"""A study's folder: `study.json`, which describes the study, and copies of the whole folder.

`study.json` holds format, config, models (a hash for each), data (a hash for each split of each
task that is not generated) and job_versions (the version of each kind of job that the results are
from). The folder also has the results in `jobs/` and, once they are written, `tables/`.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dfa_tl.display import shown
from dfa_tl.errors import FileFormatError, FileWriteError
from dfa_tl.io.atomic import make_folder, readable, user_path, write_file
from dfa_tl.io.strict_json import json_bytes, parse_json
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.evaluate_job import JOB_VERSIONS
from dfa_tl.study.job import Job
from dfa_tl.study.store import FORMAT, MANIFEST, StorageError, Store, reason

STUDY_FILE = "study.json"
TABLES = "tables"
MAX_BYTES = 2**24
"""Largest description that is read, about a thousand times the usual size."""


class StudyDescription(NamedTuple):
    """What decides a study's jobs; the arguments of `plan`."""

    config: StudyConfig
    model_hashes: dict[str, str]
    data_hashes: dict[str, dict[str, str]]
    job_versions: dict[str, int]


def write_description(folder: Path, study: StudyDescription) -> None:
    """Write `study.json`. Raises `StorageError` where the folder cannot be written."""
    content = {
        "format": FORMAT,
        "job_versions": study.job_versions,
        "config": study.config.to_dict(),
        "models": study.model_hashes,
        "data": study.data_hashes,
    }
    try:
        text = json_bytes(content, "the study", indent=1, sort_keys=False)
        write_file(folder / STUDY_FILE, text)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {reason(error)}. Make room or choose another"
        ) from error


def read_description(folder: Path) -> StudyDescription:
    """What `study.json` says.

    Raises:
        FileFormatError: no such file, or one that does not describe a study.
    """
    path = folder / STUDY_FILE
    try:
        readable(path, "the description of a study", MAX_BYTES)
        content = _dictionary("the file", parse_json(path.read_bytes(), "it"))
        if content["format"] != FORMAT:
            raise FileFormatError(f"format {shown(content['format'])}, expected {FORMAT}")
        config = StudyConfig.from_dict(_dictionary("config", content["config"]))
        splits = {
            task: _hashes(f"data of {shown(task)}", of_task, ("train", config.test_split))
            for task, of_task in _dictionary("data", content["data"]).items()
        }
        versions = _versions(_dictionary("job_versions", content["job_versions"]))
        hashes = _hashes("models", content["models"], config.models)
        return StudyDescription(config, hashes, splits, versions)
    except KeyError as error:
        raise FileFormatError(f"{path} does not describe a study: it lacks {error}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path} does not describe a study: {error}") from error


def _versions(given: dict[str, Any]) -> dict[str, int]:
    if set(given) != set(JOB_VERSIONS) or not all(type(each) is int for each in given.values()):
        raise FileFormatError(
            f"job_versions must have a whole number for each of {', '.join(JOB_VERSIONS)}, "
            f"got {shown(given)}"
        )
    return given


def _hashes(what: str, found: Any, names: Iterable[str]) -> dict[str, str]:
    """`found`, which must have a text for each of `names` at least."""
    given = _dictionary(what, found)
    if missing := [name for name in names if name not in given]:
        raise FileFormatError(f"{what} lacks {shown(missing[0])}")
    if not all(isinstance(value, str) for value in given.values()):
        raise FileFormatError(f"{what} must have a text for each name, got {shown(given)}")
    return given


def _dictionary(what: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise FileFormatError(f"{what} must be a dictionary, got {shown(found)}")
    return found


def copy_study(source: Store, jobs: Iterable[Job], folder: str | Path) -> None:
    """Copy a study to a new or empty folder, completely or not at all.

    Args:
        source: The study's results.
        jobs: Its jobs; those without a valid result are left out.
        folder: Where the copy goes.

    Raises:
        FileWriteError: the folder is not empty or cannot be written; nothing is left of the copy.
    """
    folder = Path(os.path.realpath(user_path(folder)))  # a link stays a link
    temporary = folder.with_name(f".dfa_tl-{uuid.uuid4().hex}")
    try:
        make_folder(temporary)
        if folder.exists():
            temporary.chmod(stat.S_IMODE(folder.stat().st_mode))
            folder.rmdir()  # fails unless it is empty
        write_file(temporary / STUDY_FILE, (source.folder / STUDY_FILE).read_bytes())
        target = Store(temporary)
        for job in jobs:
            if manifest := source.manifest(job):
                for name in (*manifest["files"], MANIFEST):
                    write_file(target.path(job) / name, (source.path(job) / name).read_bytes())
        for table in sorted((source.folder / TABLES).glob("*.*")):
            write_file(temporary / TABLES / table.name, table.read_bytes())
        temporary.rename(folder)
    except OSError as error:
        raise FileWriteError(
            f"the study cannot be copied to {folder} ({reason(error)}): give a new or an "
            "empty folder on a disk with room"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
