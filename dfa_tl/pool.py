"""`local_pool`: processes on this machine that end when the process that made them does.

    from dfa_tl.study import local_pool, run_study

    with local_pool(2) as pool:
        run_study(config, "runs/llama", pool)

The workers of a plain `ProcessPoolExecutor` wait for ever when their parent process is killed: each
holds both ends of the pipe that work comes from, so the pipe is never closed. Here a thread of each
worker waits for the parent to end, and then ends the worker within about a second, also in the
middle of a job, because PyTorch computes without holding Python's lock. A worker then leaves what
`kill -9` would leave, and a study ignores everything that is half-written.

This module imports little, so that a worker watches its parent before it imports PyTorch. It does
not watch yet while it imports the program's main module.
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


class LocalPool(ProcessPoolExecutor):
    """Its workers end when its block ends with an exception, so no future needs to be cancelled.

    Python's pool fails on a cancelled future when it notes that a worker has ended.
    """


def local_pool(
    workers: int, initializer: Callable[[], object] | None = None
) -> AbstractContextManager[ProcessPoolExecutor]:
    """Processes that end with this one, or at once when the block ends with an exception.

    Args:
        workers: How many; each loads the models that it works on.
        initializer: Called once in each process, for example to register your own methods. Give a
            function of a module, because it is sent to the workers by name.

    Returns:
        A context manager that gives the executor. A program that uses it needs
        `if __name__ == "__main__"`, as every program that starts processes does.

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
    with LocalPool(workers, context, _start_worker, (pickled,)) as pool:
        try:
            yield pool
        except BaseException:
            # Unfinished jobs are lost and finished ones are kept, so there is nothing to wait for.
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


def _start_worker(pickled_initializer: bytes) -> None:
    Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    # Ctrl-C reaches the workers too: they end without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Progress bars of one process need no lock between processes, which would outlive the process.
    tqdm.set_lock(RLock())
    initializer = pickle.loads(pickled_initializer)  # may import a lot: after the thread runs
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    """Wait until the parent process ends, and then end this one.

    There are two signs, because each can fail alone. The pipe or handle of `parent_process` closes
    when the parent ends, on every system, unless a fork of the parent holds it too. On POSIX
    systems the parent's id changes when it ends.
    """
    parent, known_as = multiprocessing.parent_process(), os.getppid()
    with suppress(OSError):  # if the pipe cannot be read, there is no parent either
        while parent is not None and parent.is_alive() and os.getppid() == known_as:
            parent.join(CHECK_SECONDS)
    os._exit(1)
