"""A program whose two workers are each in one long call of PyTorch; `test_pool.py` ends it.

    python pool_owner.py HOW FOLDER

HOW is how it ends: `wait` until somebody kills it, `fork` and wait, `exit` at once, or an `error`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from dfa_tl.pool import local_pool

WORKERS = 2


def compute(folder: str) -> None:
    """Minutes of work without a return to Python."""
    import torch

    torch.set_num_threads(1)
    matrix = torch.rand(3000, 3000)
    Path(folder, f"{os.getpid()}.at-work").touch()
    torch.linalg.eigvals(matrix)


def main(how: str, folder: str) -> None:
    with local_pool(WORKERS) as pool:
        for _ in range(WORKERS):
            pool.submit(compute, folder)
        while len(list(Path(folder).glob("*.at-work"))) < WORKERS:
            time.sleep(0.05)
        if how == "fork" and os.fork() == 0:
            Path(folder, f"{os.getpid()}.fork").touch()  # it has all files open that its parent has
            time.sleep(60)
            os._exit(0)
        Path(folder, "ready").touch()
        while not Path(folder, "go").exists():
            time.sleep(0.05)
        if how == "exit":
            os._exit(7)
        if how == "error":
            raise RuntimeError("on purpose")
        time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
