"""Workers of `local_pool` end when the process that made them ends, in whatever way."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from dfa_tl.errors import ConfigError
from dfa_tl.study import local_pool

PROGRAM = Path(__file__).with_name("pool_owner.py")
PATIENCE = 120.0
SECONDS = 10.0  # that workers may take to end
ENDS: dict[str, tuple[str, signal.Signals | None]] = {
    "kill -9": ("wait", signal.SIGKILL),
    "terminated": ("wait", signal.SIGTERM),
    "terminal closed": ("wait", signal.SIGHUP),
    "Ctrl-C": ("wait", signal.SIGINT),
    "kill -9 with a fork that lives on": ("fork", signal.SIGKILL),
    "exit without cleaning up": ("exit", None),
    "an exception": ("error", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
def test_workers_end_with_the_process_that_made_them(name, tmp_path):
    how, sent = ENDS[name]
    with subprocess.Popen(
        [sys.executable, PROGRAM, how, tmp_path], stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        end = time.monotonic() + PATIENCE
        while not (tmp_path / "ready").exists():
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.1)
        below = psutil.Process(process.pid).children(recursive=True)
        workers = {int(path.stem) for path in tmp_path.glob("*.at-work")}
        forks = {int(path.stem) for path in tmp_path.glob("*.fork")}
        assert workers <= {one.pid for one in below}
        assert len(workers) == 2
        (tmp_path / "go").touch()
        if sent is not None:
            process.send_signal(sent)  # to this process alone
        began = time.monotonic()
        # The tracker of shared resources lives as long as whatever holds its pipe: the fork, too.
        mine = [one for one in below if not forks or one.pid in workers]
        try:
            assert psutil.wait_procs(mine, timeout=SECONDS)[1] == []
            process.wait(SECONDS)
            assert time.monotonic() - began < SECONDS
        finally:
            for one in forks:
                os.kill(one, signal.SIGKILL)
            for one in below:
                if one.is_running():
                    one.kill()
            process.kill()
    assert process.returncode != 0


@pytest.mark.slow
def test_workers_work_and_are_given_their_initializer():
    with local_pool(2, partial(os.putenv, "DFA_TL_POOL_TEST", "set")) as pool:
        assert pool.submit(os.path.basename, "a/b").result() == "b"
        assert pool.submit(os.getpid).result() != os.getpid()
        # What was put into the environment is seen by what a worker starts.
        command = [sys.executable, "-c", "import os; print(os.environ['DFA_TL_POOL_TEST'])"]
        assert pool.submit(subprocess.check_output, command).result().split() == [b"set"]
        workers = [psutil.Process(pid) for pid in pool._processes]
    assert psutil.wait_procs(workers, timeout=SECONDS)[1] == []


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2", None])
def test_a_number_of_workers_that_makes_no_sense(workers):
    with pytest.raises(ConfigError, match=r"workers=.*: must be a whole number from 1"):
        inspect.unwrap(local_pool)(workers)


def test_an_initializer_that_cannot_be_sent():
    with (
        pytest.raises(ConfigError, match=r"cannot be sent to a worker .* give a function of a mod"),
        local_pool(1, lambda: None),
    ):
        pass
