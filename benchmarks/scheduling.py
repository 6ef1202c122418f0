r"""How long a study takes on 1 to 64 workers, simulated with the schedule that `run_study` uses.

    python benchmarks/scheduling.py
    python benchmarks/scheduling.py --study out/real --out out/scheduling.csv

The study is that of `examples/study_real.py`, with one pair of models and one method. Without
`--study`, a job takes as long as its passes, weighted by the size of its model. With a study that
has been run, a job takes the seconds that are on record, and a job that is not done takes what its
passes take at the mean speed of the jobs of its kind; a study of several seeds is also simulated
with the first seed alone. Not simulated: loading a model once per worker, waiting for a cluster's
queue, and workers of different speed.

    critical path   the longest chain of jobs that need each other; no study takes less
    makespan        from the start of the first job to the end of the last
    busy            work / (workers x makespan)
"""

from __future__ import annotations

import argparse
import heapq
import runpy
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dfa_tl import AlignmentConfig
from dfa_tl.io.atomic import write_file
from dfa_tl.models.shape import ModelShape, model_shape
from dfa_tl.nodes import NodeSet
from dfa_tl.study import PairSpec, StudyConfig, StudyResults
from dfa_tl.study.job import Job
from dfa_tl.study.plan import plan
from dfa_tl.study.run import PIECES
from dfa_tl.study.schedule import Piece, Schedule, critical_paths

OUT = Path(__file__).parent / "results" / "scheduling.csv"
WORKERS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Decoder:
    """The size of a model with grouped-query attention and a gated MLP."""

    n_layers: int
    n_heads: int
    d_model: int
    d_kv: int
    d_mlp: int
    vocabulary: int
    embeddings: int = 2  # 1 where the output shares the input's
    biases: bool = False  # of queries, keys and values

    @property
    def shape(self) -> ModelShape:
        """What weighs a pass in a study."""
        return ModelShape(
            NodeSet(self.n_layers, self.n_heads), 12.0 * self.n_layers * self.d_model**2
        )

    @property
    def parameters(self) -> int:
        """All weights."""
        d = self.d_model
        block = 2 * d * d + 2 * d * self.d_kv + 3 * d * self.d_mlp + 2 * d
        block += self.biases * (d + 2 * self.d_kv)
        return self.n_layers * block + d + self.embeddings * self.vocabulary * d


MODELS = {
    "qwen2.5-0.5b": Decoder(24, 14, 896, 128, 4864, 151936, embeddings=1, biases=True),
    "qwen2.5-1.5b": Decoder(28, 12, 1536, 256, 8960, 151936, embeddings=1, biases=True),
    "llama3-1b": Decoder(16, 32, 2048, 512, 8192, 128256, embeddings=1),
    "llama3-8b": Decoder(32, 32, 4096, 1024, 14336, 128256),
    "llama3-70b": Decoder(80, 64, 8192, 1024, 28672, 128256),
}
STUDIES = (
    ("qwen2.5-0.5b", "qwen2.5-1.5b", 1),
    ("llama3-1b", "llama3-8b", 1),
    ("llama3-1b", "llama3-8b", 2),
    ("llama3-8b", "llama3-70b", 1),
)
TOKENS = 20
"""Of a prompt, where the work is given in FLOP."""


def study_of(
    source: str,
    target: str,
    n_seeds: int,
    tasks: tuple[str, ...] = (),
    dtype: str = "bfloat16",
    steps: int = 100,
) -> StudyConfig:
    """The study of `examples/study_real.py`, on its own tasks or on others."""
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "study_real.py"))
    return StudyConfig(
        pairs=(PairSpec(source, target),),
        tasks=tasks or example["SHORT"],
        regimes=("zero-shot", "in-distribution"),
        controls=example["CONTROLS"],
        seeds=tuple(range(n_seeds)),
        train_pairs=32,
        test_pairs=32,
        variants={"default": AlignmentConfig(steps=steps, batch_size=16)},
        grids=("coarse",),
        batch_size=16,
        dtype=dtype,
    )


def name_of(pair: str, n_seeds: int) -> str:
    """The name of a study."""
    return f"{pair}, {n_seeds} seed{'s' * (n_seeds > 1)}"


def planned_work(jobs: Sequence[Job]) -> dict[str, float]:
    """Passes of each job, weighted by the size of its model."""
    work = {}
    for job in jobs:
        model = job.model_run
        known = MODELS.get(model.name)
        shape = known.shape if known else model_shape(model.name, model.revision)
        load = job.workload(shape.nodes)
        work[job.key] = shape.work * (load.forward + load.backward)
    return work


def cost(name: str, jobs: Sequence[Job]) -> list[dict[str, object]]:
    """Passes of one pair through each model, and their FLOP.

    A pass takes 2 FLOP for each parameter and token, forward or backward: weights get no gradient.
    """
    rows = []
    for model in dict.fromkeys(job.model_run.name for job in jobs):
        size = MODELS[model]
        loads = [job.workload(size.shape.nodes) for job in jobs if job.model_run.name == model]
        passes = sum(load.forward + load.backward for load in loads)
        flop = 2.0 * size.parameters * TOKENS
        rows.append(
            {
                "study": name,
                "model": model,
                "parameters": f"{size.parameters / 1e9:.2f}e9",
                "GB in bfloat16": f"{2 * size.parameters / 1e9:.1f}",
                "passes": round(passes),
                "TFLOP of a pass": f"{flop / 1e12:.3f}",
                "PFLOP": f"{passes * flop / 1e15:.1f}",
            }
        )
    return rows


def measured_seconds(results: StudyResults, work: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each job of a study."""
    known = {
        job.key: manifest["seconds"]
        for job in results.jobs
        if (manifest := results.manifest(job)) is not None
    }
    done: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for job in results.jobs:
        if job.key in known:
            done[job.kind][0] += known[job.key]
            done[job.kind][1] += work[job.key]
    if lacking := {job.kind for job in results.jobs} - done.keys():
        raise SystemExit(f"error: no {', '.join(sorted(lacking))} job of the study is done yet")
    speed = {kind: seconds / passes for kind, (seconds, passes) in done.items()}
    print(f"{len(known)} of {len(results.jobs)} jobs have been measured")
    return {job.key: known.get(job.key, work[job.key] * speed[job.kind]) for job in results.jobs}


def simulate(
    jobs: Sequence[Job],
    work: Mapping[str, float],
    seconds: Mapping[str, float],
    workers: int,
    pieces: int,
) -> tuple[float, int]:
    """Makespan on so many workers, and the number of pieces that were handed out."""
    schedule = Schedule(jobs, (), work, pieces)
    queue: deque[Piece] = deque()
    running: list[tuple[float, int, Piece]] = []
    now, started = 0.0, 0
    while True:
        queue.extend(schedule.next_pieces())
        while queue and len(running) < workers:
            piece = queue.popleft()
            end = now + sum(seconds[job.key] for job in piece)
            heapq.heappush(running, (end, started, piece))
            started += 1
        if not running:
            return now, started
        now, _, piece = heapq.heappop(running)
        schedule.end(piece, {})


def table(
    name: str, jobs: Sequence[Job], work: Mapping[str, float], seconds: Mapping[str, float]
) -> list[dict[str, object]]:
    """One row for each number of workers; times in parts of the work of one worker."""
    total = sum(seconds.values())
    path = max(critical_paths(jobs, seconds).values())
    rows = []
    for workers in WORKERS:
        makespan, pieces = simulate(jobs, work, seconds, workers, PIECES)
        rows.append(
            {
                "study": name,
                "jobs": len(jobs),
                "pieces": pieces,
                "workers": workers,
                "critical_path": path / total,
                "makespan": makespan / total,
                "least": max(path, total / workers) / total,
                "busy": total / (workers * makespan),
            }
        )
    return rows


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--study", type=Path, help="folder of a study that has been run")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rows = []
    if arguments.study is not None:
        study = StudyResults.load(arguments.study)
        for n_seeds in sorted({1, len(study.config.seeds)}):
            # Jobs do not depend on the study's other seeds, so those of fewer seeds are on record.
            config = replace(study.config, seeds=study.config.seeds[:n_seeds])
            results = replace(study, config=config)
            work = planned_work(results.jobs)
            seconds = measured_seconds(results, work)
            name = name_of(config.pairs[0].label, n_seeds)
            rows += table(name, results.jobs, work, seconds)
    else:
        costs = []
        for source, target, n_seeds in STUDIES:
            jobs = plan(study_of(source, target, n_seeds), {source: "", target: ""}, {})
            work = planned_work(jobs)
            name = name_of(f"{source} -> {target}", n_seeds)
            rows += table(name, jobs, work, work)
            costs += cost(name, jobs)
        print(f"Prompts of {TOKENS} tokens:\n{pd.DataFrame(costs).to_string(index=False)}\n")
    frame = pd.DataFrame(rows)
    print(frame.round(3).to_string(index=False))
    write_file(arguments.out, frame.round(4).to_csv(index=False).encode())
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
