"""The meaning of `--out`, in every command, example and script.

- A folder that exists, or a name without a known ending, is a folder: a file goes into it under its
  default name. `runs`, `runs/v1.2` and `/tmp/tmp.3Q` are folders.
- Any other name is a file. It is refused if its ending does not fit what is written.

A path that cannot be written is refused at once, before any model is loaded. Nothing is created
here. A full disk is noticed only when it is written to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dfa_tl.errors import ConfigError, FileWriteError
from dfa_tl.io.atomic import destination, user_path

KNOWN_ENDINGS = frozenset(
    ".csv .html .ipynb .jpeg .jpg .json .jsonl .log .md .parquet .pdf .png .pt .safetensors .svg "
    ".tex .tsv .txt .webp .yaml .yml".split()
)


def output_file(out: str | Path, default: str, endings: Sequence[str] = ()) -> Path:
    """The file that `--out` means.

    Args:
        out: What the user gave.
        default: Name of the file where `out` is a folder.
        endings: Endings that the file may have; by default that of `default`.

    Raises:
        ConfigError: `out` has the ending of another kind of file.
        FileWriteError: nothing can be written there.
    """
    path, allowed = user_path(out), endings or (Path(default).suffix,)
    ending = path.suffix.lower()
    if _is_folder(path) or ending not in KNOWN_ENDINGS:
        _check_no_device(path)
        path /= default
    elif ending not in allowed:
        raise ConfigError(
            f"{out} ends in {path.suffix}, and the file must end in {' or '.join(allowed)}. Give "
            f"such a name, or a folder for {default}"
        )
    _check_folder(path.parent)
    file = _destination(path)
    if file.exists() and not os.access(file, os.W_OK):
        raise FileWriteError(
            f"{path} is not writable: give another name, or change its permissions"
        )
    return path


def output_folder(out: str | Path) -> Path:
    """The folder that `--out` means, for commands that write several files.

    Raises:
        ConfigError: `out` is not a folder and has the ending of a file.
        FileWriteError: the folder cannot be written to.
    """
    path = user_path(out)
    if path.suffix.lower() in KNOWN_ENDINGS and not _there(path):
        raise ConfigError(f"{out} ends like a file, but several files are written: give a folder")
    _check_no_device(path)
    _check_folder(path)
    return path


def _check_no_device(path: Path) -> None:
    """Raise `FileWriteError` if the path is a device, a FIFO or a socket."""
    if not _is_folder(path):
        _destination(path)


def _destination(path: Path) -> Path:
    try:
        return destination(path)
    except OSError as error:
        raise _cannot(path, error) from error


def _check_folder(path: Path) -> None:
    """Raise `FileWriteError` unless files can be written into this folder, made where needed."""
    path = Path(os.path.realpath(path))  # a link may lead to a folder that does not exist yet
    nearest = next(folder for folder in (path, *path.parents) if _there(folder))
    if not nearest.is_dir():
        raise FileWriteError(f"{nearest} is a file, where a folder is needed: give another name")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise FileWriteError(
            f"{nearest} is not writable: give another folder, or change its permissions"
        )


def _is_folder(path: Path) -> bool:
    return _there(path) and path.is_dir()


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _cannot(path, error) from error


def _cannot(path: Path, error: OSError) -> FileWriteError:
    if isinstance(error, FileWriteError):
        return error
    return FileWriteError(f"{path} cannot be written ({error.strerror or error})")
