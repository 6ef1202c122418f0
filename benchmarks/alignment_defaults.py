"""Choose the defaults of `AlignmentConfig`: mean zero-shot CPR on the validation splits.

    python benchmarks/alignment_defaults.py

For each setting, seed and held-out task: W is trained on the train pairs of the other five tasks of
the bundled pair, transfers the held-out task's source scores, and the predicted circuit is measured
on that task's validation pairs (protocol `nodes`). Nothing here touches a test split. The seed
draws the pairs, the initialisation and the order of the batches.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import pandas as pd
import torch

from dfa_tl import (
    LINEAR_KS,
    AlignmentConfig,
    align,
    attribute,
    controls,
    evaluate_many,
    load_model,
    load_task,
)
from dfa_tl.io.atomic import write_file
from dfa_tl.io.output import output_file
from dfa_tl.tasks import TOY_TASKS

SETTINGS: dict[str, dict] = {
    f"{normalization}, {initialization}, rate {rate}": {
        "normalization": normalization,
        "initialization": initialization,
        "learning_rate": rate,
    }
    for normalization, initialization, rate in itertools.product(
        ("none", "max", "centered"), ("random", "depth-mean"), (0.1, 0.01)
    )
}


def main() -> None:
    """Measure every setting and print the table, best first."""
    parser = argparse.ArgumentParser(description="Zero-shot CPR of alignment settings.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--method", default="nap-ig-inputs")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/alignment_defaults.csv")
    )
    arguments = parser.parse_args()
    out = output_file(arguments.out, "alignment_defaults.csv")
    source, target = load_model("toy-small"), load_model("toy-large")
    constant = controls.uniform_s(source.nodes)
    rows = []
    for seed in range(arguments.seeds):
        train = {task: load_task(task, n=arguments.pairs, seed=seed) for task in TOY_TASKS}
        held = {task: load_task(task, split="validation", n=96, seed=seed) for task in TOY_TASKS}
        options = {"method": arguments.method, "progress": False}
        scores = {task: attribute(source, train[task], **options) for task in TOY_TASKS}
        gold = {task: attribute(target, train[task], **options) for task in TOY_TASKS}
        for task in TOY_TASKS:
            others = {other: train[other] for other in TOY_TASKS if other != task}
            circuits = {"gold": gold[task]}
            for name, settings in SETTINGS.items():
                config = AlignmentConfig(seed=seed, **settings)
                known = {other: scores[other] for other in others}
                alignment = align(known, target, others, config, progress=False)
                circuits[name] = alignment.transfer(scores[task])
            paper = AlignmentConfig.paper(seed=seed, batch_size=16)
            uniform = align(dict.fromkeys(others, constant), target, others, paper, progress=False)
            circuits["control: uniform s"] = uniform.transfer(constant)
            random = controls.random_W(source.nodes, target.nodes, paper)
            circuits["control: random W"] = random.transfer(scores[task])
            both = evaluate_many(target, held[task], circuits, progress=False)
            linear = evaluate_many(target, held[task], circuits, ks=LINEAR_KS, progress=False)
            for name in circuits:
                rows.append(
                    {
                        "setting": name,
                        "task": task,
                        "seed": seed,
                        "mib": both[name]["logit_diff"].cpr,
                        "linear": linear[name]["logit_diff"].cpr,
                    }
                )
        write_file(out, pd.DataFrame(rows).to_csv(index=False).encode())
        print(f"seed {seed} done", flush=True)
    table = pd.DataFrame(rows)
    by_task = table.pivot_table(index="setting", columns="task", values="linear")
    by_seed = table.pivot_table(index="setting", columns="seed", values="linear")
    summary = by_task.assign(
        mib=table.pivot_table(index="setting", values="mib")["mib"],
        linear=by_task.mean(axis=1),
        deviation=by_seed.std(axis=1),
    ).sort_values("linear", ascending=False)
    print(summary.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
