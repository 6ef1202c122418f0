"""A copy of a study's folder: its description, what is valid of its results, and their tables.

The copy is made aside and renamed: it is there wholly or not at all.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterable
from pathlib import Path

from dfa_tl.errors import FileWriteError
from dfa_tl.io.atomic import make_folder, user_path, write_file
from dfa_tl.study.jobs import Job
from dfa_tl.study.store import MANIFEST, Store, reason

TABLES = "tables"


def copy_study(
    source: Store,
    description: str,
    jobs: Iterable[Job],
    folder: str | Path,
) -> None:
    """Copy a study to a new or empty folder.

    Args:
        source: The study's results.
        description: Name of the file that describes the study.
        jobs: Its jobs; those without a valid result are left out.
        folder: Where the copy goes.

    Raises:
        FileWriteError: the folder is not empty or cannot be written; nothing is left of the copy.
    """
    folder = Path(os.path.realpath(user_path(folder)))  # a link stays
    aside = folder.with_name(f".dfa_tl-{uuid.uuid4().hex}")
    try:
        make_folder(aside)
        if folder.exists():
            aside.chmod(stat.S_IMODE(folder.stat().st_mode))
            folder.rmdir()  # only an empty one goes
        write_file(aside / description, (source.folder / description).read_bytes())
        target = Store(aside)
        for job in jobs:
            manifest = source.manifest(job)
            if manifest is not None:
                for name in (*manifest["files"], MANIFEST):
                    write_file(target.path(job) / name, (source.path(job) / name).read_bytes())
        for table in sorted((source.folder / TABLES).glob("*.*")):
            write_file(aside / TABLES / table.name, table.read_bytes())
        aside.rename(folder)
    except OSError as error:
        raise FileWriteError(
            f"the study cannot be copied to {folder} ({reason(error)}): give a new or an "
            "empty folder on a disk with room"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
