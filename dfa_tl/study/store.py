"""`Store`: a folder of content-addressed results that can be believed.

    jobs/<first two of key>/<key>/   the result's files, and manifest.json: settings, sha256 of each
                                     file, cost, wall time, and the sha256 of all that it says

A result is written in a folder aside, every file and the folder flushed to disk, and then renamed:
it is there wholly or not at all, also after `kill -9`. It counts only if its manifest is that of
the job, byte for byte as it was written, and every file has its checksum; anything else counts as
missing and is done again. Two runs may share a folder: they write equal results, and the one that
comes second gives way.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dfa_tl.errors import DFAError, FileFormatError
from dfa_tl.io.atomic import flush, make_folder, user_path, write_file
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.study.jobs import FORMAT, Job, canonical

MANIFEST = "manifest.json"
ASIDE = ".aside"
STALE_SECONDS = 24 * 3600


class StorageError(DFAError, OSError):
    """A result that cannot be written: disk full, no permission."""


class Store:
    """Results below one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = user_path(folder)

    def path(self, job: Job) -> Path:
        """Folder of a job's result."""
        return self.folder / "jobs" / job.key[:2] / job.key

    def manifest(self, job: Job) -> dict[str, Any] | None:
        """The manifest of a valid result; None where there is none."""
        path = self.path(job)
        try:
            content = (path / MANIFEST).read_bytes()
            manifest = json.loads(content)
            del manifest["sha256"]
            if content != _sealed(manifest):
                return None
            if manifest["format"] != FORMAT or manifest["key"] != job.key:
                return None
            for name, digest in manifest["files"].items():
                if Path(name).name != name:  # a file elsewhere: not written by this package
                    return None
                if hashlib.sha256((path / name).read_bytes()).hexdigest() != digest:
                    return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return manifest

    def has(self, job: Job) -> bool:
        """Whether a valid result is there."""
        return self.manifest(job) is not None

    def checked(self, job: Job) -> Path:
        """Folder of a valid result.

        Raises:
            FileFormatError: the result is missing, truncated or altered.
        """
        if not self.has(job):
            raise FileFormatError(
                f"the result of {job} in {self.path(job)} is missing, truncated or altered; run "
                "the study again on this folder, what is valid is kept"
            )
        return self.path(job)

    def save(
        self, job: Job, write: Callable[[Path], None], facts: Mapping[str, Any], seconds: float
    ) -> None:
        """Store a job's result.

        Args:
            job: The job.
            write: Writes the result's files into the folder it is given.
            facts: What else the manifest should say (the cost).
            seconds: Wall time that the work took.

        Raises:
            StorageError: the disk is full or cannot be written. Nothing is left that counts.
        """
        aside = self.folder / ASIDE / f"{job.key[:16]}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        try:
            make_folder(aside)
            write(aside)
            manifest = {
                "format": FORMAT,
                "key": job.key,
                "kind": job.kind,
                "settings": dict(job.settings),
                "files": {file.name: _digest(file) for file in sorted(aside.iterdir())},
                "seconds": seconds,
                **facts,
            }
            write_file(aside / MANIFEST, _sealed(manifest))
            flush(aside)
            self._move(aside, job)
        except OSError as error:
            raise StorageError(
                f"the result of {job} cannot be written below {self.folder}: "
                f"{reason(error)}. Make room or choose another folder and run the study "
                "again; what is done is kept"
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _move(self, aside: Path, job: Job) -> None:
        path = self.path(job)
        make_folder(path.parent)
        for _ in range(100):
            try:
                aside.rename(path)
            except OSError:
                if not path.exists():
                    raise
                if self.has(job):
                    return
                # What is there is no result: out of the way, whole, then ours takes its place.
                with suppress(FileNotFoundError):
                    path.rename(aside.with_name(f"{aside.name}.bad"))
                shutil.rmtree(aside.with_name(f"{aside.name}.bad"), ignore_errors=True)
            else:
                for above in (path.parent, path.parent.parent, self.folder):  # may be new as well
                    flush(above)
                return
        raise StorageError(f"another run keeps writing bad results to {path}")

    def clear_aside(self) -> None:
        """Remove what runs that were killed left aside more than a day ago."""
        for path in (self.folder / ASIDE).glob("*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)


def reason(error: OSError) -> str:
    """What the system said, without this package's advice about a file that is aside."""
    while isinstance(error, DFAError) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    return error.strerror or str(error)


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    """A manifest's file: what it says, and the digest of that.

    Whoever reads it makes it again and compares bytes: a number that is written otherwise but reads
    the same (1e-05, 1E-05) is an altered one too.
    """
    digest = hashlib.sha256(canonical(manifest).encode()).hexdigest()
    return json_bytes({**manifest, "sha256": digest}, "a manifest", indent=1, sort_keys=False)


def _digest(file: Path) -> str:
    content = file.read_bytes()
    flush(file)
    return hashlib.sha256(content).hexdigest()
