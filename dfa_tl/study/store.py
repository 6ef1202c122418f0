"""`Store`: a folder of content-addressed results, safe against crashes and damage.

    jobs/<first two of key>/<key>/   the result's files, and manifest.json: settings, sha256 of each
                                     file, cost, wall time, and the sha256 of the manifest itself

A result is written to a temporary folder, every file and the folder are flushed to disk, and the
folder is renamed: the result exists completely or not at all, also after `kill -9`. It counts only
if its manifest is that of the job, byte for byte as it was written, and every file has its
checksum; anything else counts as missing and is computed again. Two runs may share a folder: they
write equal results, and the second one drops its copy.
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
from typing import Any, ClassVar, Protocol, runtime_checkable

from dfa_tl.errors import DFAError, FileFormatError
from dfa_tl.io.atomic import flush, make_folder, user_path, write_file
from dfa_tl.io.strict_json import json_bytes

FORMAT = 3
"""Of the files in a study's folder."""
MANIFEST = "manifest.json"
TEMPORARY = ".temporary"
STALE_SECONDS = 24 * 3600


class StorageError(DFAError, OSError):
    """A result that cannot be written: disk full, no permission."""


@runtime_checkable
class Stored(Protocol):
    """A job, as far as the store is concerned."""

    kind: ClassVar[str]

    @property
    def key(self) -> str:
        """The content address of its result."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides its result."""
        ...


class Store:
    """Results below one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = user_path(folder)

    def path(self, job: Stored) -> Path:
        """Folder of a job's result."""
        return self.folder / "jobs" / job.key[:2] / job.key

    def manifest(self, job: Stored) -> dict[str, Any] | None:
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

    def has(self, job: Stored) -> bool:
        """Whether a job has a valid result."""
        return self.manifest(job) is not None

    def checked(self, job: Stored) -> Path:
        """Folder of a valid result.

        Raises:
            FileFormatError: the result is missing, truncated or altered.
        """
        if not self.has(job):
            raise FileFormatError(
                f"the result of {job} in {self.path(job)} is missing, truncated or altered; run "
                "the study again on this folder; valid results are kept"
            )
        return self.path(job)

    def save(
        self, job: Stored, write: Callable[[Path], None], facts: Mapping[str, Any], seconds: float
    ) -> None:
        """Store a job's result.

        Args:
            job: The job.
            write: Writes the result's files into the folder it is given.
            facts: More facts for the manifest (the cost).
            seconds: Wall time of the job.

        Raises:
            StorageError: the disk is full or cannot be written; no part of the result is left.
        """
        temporary = self.folder / TEMPORARY / f"{job.key[:16]}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        try:
            make_folder(temporary)
            write(temporary)
            manifest = {
                "format": FORMAT,
                "key": job.key,
                "kind": job.kind,
                "settings": dict(job.settings),
                "files": {file.name: _digest(file) for file in sorted(temporary.iterdir())},
                "seconds": seconds,
                **facts,
            }
            write_file(temporary / MANIFEST, _sealed(manifest))
            flush(temporary)
            self._move(temporary, job)
        except OSError as error:
            raise StorageError(
                f"the result of {job} cannot be written below {self.folder}: "
                f"{reason(error)}. Make room or choose another folder and run the study "
                "again; finished results are kept"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _move(self, temporary: Path, job: Stored) -> None:
        path = self.path(job)
        make_folder(path.parent)
        for _ in range(100):
            try:
                temporary.rename(path)
            except OSError:
                if not path.exists():
                    raise
                if self.has(job):
                    return
                # An invalid result: move it away as a whole, then rename ours.
                with suppress(FileNotFoundError):
                    path.rename(temporary.with_name(f"{temporary.name}.bad"))
                shutil.rmtree(temporary.with_name(f"{temporary.name}.bad"), ignore_errors=True)
            else:
                for above in (path.parent, path.parent.parent, self.folder):  # may be new as well
                    flush(above)
                return
        raise StorageError(f"another run keeps writing bad results to {path}")

    def clear_temporary(self) -> None:
        """Remove temporary folders that killed runs left more than a day ago."""
        for path in (self.folder / TEMPORARY).glob("*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)


def reason(error: OSError) -> str:
    """The system's message, without this package's advice about a temporary file."""
    while isinstance(error, DFAError) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    return error.strerror or str(error)


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest with its digest.

    A reader makes them again and compares: a number that is spelled differently but has the same
    value (1e-05, 1E-05) counts as altered, too.
    """
    digest = hashlib.sha256(json_bytes(manifest, "a manifest")).hexdigest()
    return json_bytes({**manifest, "sha256": digest}, "a manifest", indent=1, sort_keys=False)


def _digest(file: Path) -> str:
    content = file.read_bytes()
    flush(file)
    return hashlib.sha256(content).hexdigest()
