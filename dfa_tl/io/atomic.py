"""Writing files, for the whole package: every file that it writes goes through `write_file`.

A file is written to another name in the same folder, flushed to disk and renamed, so a reader never
sees half of it, and a write that fails leaves the old file. A path means what it means to
`open(path, "w")`:

- A symbolic link is followed, also to another folder or file system, and also if its target does
  not exist yet: the link stays, and its target is written.
- An existing file keeps its permissions, and its owner and group where the system allows that. A
  new one gets the permissions of the umask. A read-only file is refused.
- Only a regular file is replaced. A folder, a FIFO, a socket or a device is refused.
- `~` and `~user` are home folders, here and in every path that the package reads.

One thing differs: a hard link is broken. The path gets a new file; the other names of the old file
keep the old one.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from contextlib import suppress
from pathlib import Path

from dfa_tl.errors import ConfigError, FileFormatError, FileWriteError

MAX_BYTES = 2**30
"""Largest file that is read: W between two models of 16,000 nodes each."""
MAX_LINKS = 40  # as many as Linux follows
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as the user means it: `~` and `~user` at its beginning are home folders.

    Raises:
        ConfigError: `path` is not a path, or the home folder is not known.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise ConfigError(f"a path must be a str or a pathlib.Path, got {type(path).__name__}")
    if "\0" in os.fspath(path):
        raise ConfigError(
            f"{os.fspath(path)!r} contains a NUL character, which no path may contain"
        )
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ConfigError(
            f"{path}: the home folder of {Path(expanded).parts[0]} is not known. Give the full "
            "path, also for a file whose name begins with ~"
        )
    return Path(expanded)


def write_file(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` to `path`, completely or not at all.

    Missing folders above it are created.

    Returns:
        The path, with `~` replaced.

    Raises:
        FileWriteError: the disk is full, writing is not allowed, or `path` is not a regular file.
    """
    path = user_path(path)
    try:
        make_folder(path.parent)
        file = destination(path)
        _replace(file, content)
    except OSError as error:
        if isinstance(error, FileWriteError):
            raise
        raise FileWriteError(
            f"{path} cannot be written ({error.strerror or error}): give the name of a file on a "
            "disk with free space, in a writable folder. The old file, if any, is unchanged"
        ) from error
    return path


def _replace(file: Path, content: bytes) -> None:
    """Replace `file` by a new file with the same permissions."""
    before = None
    with suppress(FileNotFoundError):
        os.close(os.open(file, os.O_WRONLY))  # refuses a file that may not be written to
        before = file.stat()
    # A name of its own length: the file's may be as long as the file system allows.
    aside = file.with_name(f".dfa_tl-{uuid.uuid4().hex}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        # Never more permissive than the old file, not even before the permissions are set.
        mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o666
        with open(os.open(aside, flags, mode), "wb") as handle:
            if before is not None:
                _take_over(aside, before)
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def _take_over(file: Path, before: os.stat_result) -> None:
    """Give a file the owner, group and permissions of another, as far as the system allows it."""
    if hasattr(os, "chown"):
        now = file.stat()
        if now.st_gid != before.st_gid:
            with suppress(PermissionError):
                os.chown(file, -1, before.st_gid)
        if now.st_uid != before.st_uid:
            with suppress(PermissionError):
                os.chown(file, before.st_uid, -1)
    file.chmod(stat.S_IMODE(before.st_mode))  # after chown, which clears some of them


def destination(path: Path) -> Path:
    """The file that a path leads to: links are followed, and only a regular file is accepted.

    Raises:
        FileWriteError: the path leads to something else.
        OSError: links lead in a circle, or the system reports an error.
    """
    file = path
    for _ in range(MAX_LINKS):
        file = Path(os.path.realpath(file.parent)) / file.name
        # /dev/stdout and /proc/self/fd/1 are links to what is open, not to a path.
        if file.parent == Path("/dev") or file.is_relative_to("/dev/fd"):
            raise _not_regular(path, "a device")
        if file.is_relative_to("/proc"):
            raise _not_regular(path, "part of /proc")
        if not file.is_symlink():
            break
        file = file.parent / os.readlink(file)
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = file.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise _not_regular(path, next((name for test, name in KINDS if test(mode)), "special"))
    return file


def _not_regular(path: Path, kind: str) -> FileWriteError:
    return FileWriteError(
        f"{path} cannot be written: it is {kind}, not a regular file. Give the name of a file"
    )


def make_folder(folder: Path) -> None:
    """Create a folder and those above it where they are missing; links are followed.

    Raises:
        OSError: the system reports an error.
    """
    Path(os.path.realpath(folder)).mkdir(parents=True, exist_ok=True)


def flush(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power failure, where the system can.

    Raises:
        OSError: the system reports an error.
    """
    if os.name == "nt":  # Windows opens no folders, and flushes only what is open for writing
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(handle)


def readable(path: str | os.PathLike[str], what: str, limit: int | None = None) -> Path:
    """The path of a file, if it exists and is not too large.

    Args:
        path: The file.
        what: What it should be, for the message.
        limit: The most bytes that it may have (default: `MAX_BYTES`).

    Raises:
        FileFormatError: there is no such file, it is a folder, or it is too large.
    """
    path, most = user_path(path), MAX_BYTES if limit is None else limit
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder; expected {what}, a file")
    if not path.is_file():
        raise FileFormatError(f"no file {path}; expected {what}")
    size = path.stat().st_size
    if size > most:
        raise FileFormatError(
            f"{path} has {size:,} bytes, and {what} has at most {most:,}: it is another kind of "
            "file or was altered, and it was not read"
        )
    return path
