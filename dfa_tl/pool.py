"""`local_pool`: processes on this machine that end when the process that made them does.

    from dfa_tl.study import local_pool, run_study

    with local_pool(2) as pool:
        run_study(config, "runs/llama", pool)

The workers of a plain `ProcessPoolExecutor` wait for work for ever when the process that made them
is killed: each holds both ends of the pipe that they get work from, so that it is never closed.
Here a thread of each worker waits for the end of that process, however it came, and ends the worker
within about a second, also in the middle of a job: PyTorch computes without holding Python's lock.
What a worker leaves behind then is what `kill -9` would leave, and a study believes nothing that is
half-written.

This module imports little, so that a worker watches before it has imported PyTorch. Only while it
imports the program's own main module it does not watch yet.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import RLock, Thread

from tqdm import tqdm

from dfa_tl.errors import ConfigError

CHECK_SECONDS = 1.0


def local_pool(
    workers: int, initializer: Callable[[], object] | None = None
) -> AbstractContextManager[ProcessPoolExecutor]:
    """Processes that end with this one, and at once where the block ends with an exception.

    Args:
        workers: How many; each loads the models that it works on.
        initializer: Called once in each, say to register methods of your own. Give a function of
            a module: it is sent to the workers by its name.

    Returns:
        A context manager that gives the executor. Programs that use it need
        `if __name__ == "__main__"`, as all that start processes do.

    Raises:
        ConfigError: `workers` is not a whole number from 1, or the initializer cannot be sent to
            a process.
    """
    if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers < 2**31:
        raise ConfigError(f"workers={workers!r}: must be a whole number from 1")
    if initializer is not None and not callable(initializer):
        raise ConfigError(f"initializer={initializer!r}: must be a function, or None")
    try:
        pickled = pickle.dumps(initializer)
    except Exception as error:  # pickle raises several kinds
        raise ConfigError(
            f"initializer={initializer!r} cannot be sent to a worker ({error}): give a function of "
            "a module, or functools.partial of one"
        ) from error
    return _pool(workers, pickled)


@contextmanager
def _pool(workers: int, pickled: bytes) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (pickled,)) as pool:
        try:
            yield pool
        except BaseException:
            # What they are at is lost, and all that is done is kept: nothing is waited for.
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


def _start_worker(pickled_initializer: bytes) -> None:
    Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    # Ctrl-C reaches the workers too: they end without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Bars of one process need no lock between processes, which would be left behind by its end.
    tqdm.set_lock(RLock())
    initializer = pickle.loads(pickled_initializer)  # may import a lot: after the thread runs
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    """Wait until the process that started this one is no more, and end this one.

    Two signs, because each can fail alone. The pipe or handle of `parent_process` is closed when
    the parent ends, on every system, but not while a fork of the parent holds it too. The id of the
    parent changes when it ends, on POSIX systems.
    """
    parent, known_as = multiprocessing.parent_process(), os.getppid()
    with suppress(OSError):  # the pipe cannot be read: that is no parent either
        while parent is not None and parent.is_alive() and os.getppid() == known_as:
            parent.join(CHECK_SECONDS)
    os._exit(1)
