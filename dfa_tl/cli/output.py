"""Where results go: refused at once where it cannot be written, before any model is loaded.

Nothing is made here. A disk that is full shows only when it is written to.
"""

from __future__ import annotations

import os
from pathlib import Path

from dfa_tl.errors import FileWriteError


def check_file(path: Path) -> None:
    """Raise `FileWriteError` unless a file of this name can be written."""
    if _there(path) and path.is_dir():
        raise FileWriteError(f"{path} is a folder: give the name of a file")
    check_folder(path.parent)


def check_folder(path: Path) -> None:
    """Raise `FileWriteError` unless files can be written into this folder, made where needed."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if _there(folder))
    if not nearest.is_dir():
        raise FileWriteError(f"{nearest} is a file, where a folder is needed: give another name")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise FileWriteError(f"{nearest} may not be written to: give another folder, or allow it")


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise FileWriteError(f"{path} cannot be written ({error.strerror or error})") from error
