r"""Carry the IOI circuit of a small model over to a larger one, and see what it is worth.

    python examples/transfer_ioi.py
    python examples/transfer_ioi.py --dtype auto \
        --source meta-llama/Llama-3.2-1B --target meta-llama/Llama-3.2-3B

The bundled models do the toy tasks; for others, the task is IOI in natural English and W is trained
on other tasks in English. A task that one of the models cannot do is left out.

Node scores are attributed on the source; W is trained on the task itself (in-distribution) and on
tasks of other families (zero-shot); gold scores are attributed on the target. All circuits, and two
controls, are then measured on test pairs that nothing was fitted to.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd

from dfa_tl import (
    AlignmentConfig,
    DFAError,
    align,
    attribute,
    controls,
    evaluate_many,
    load_model,
    load_task,
)
from dfa_tl.evaluation.doable import doable_tasks
from dfa_tl.io.output import output_file
from dfa_tl.models.folder import BUNDLED
from dfa_tl.tasks.registry import training_tasks
from dfa_tl.viz import faithfulness_curves, save_figure
from dfa_tl.viz.export import FIGURE_ENDINGS


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Transfer a circuit from one model to another.")
    parser.add_argument("--source", default="toy-small", help="model whose circuit is known")
    parser.add_argument("--target", default="toy-large", help="model that it is carried over to")
    parser.add_argument("--task", help="default: ioi, or ioi_english for other models")
    parser.add_argument("--pairs", type=int, help="per task (default: 96, or 32 for other models)")
    parser.add_argument("--dtype", default="float32", help="precision, such as auto")
    parser.add_argument("--method", default="nap-ig-inputs", help="attribution method")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs and of W's training")
    parser.add_argument(
        "--out", type=Path, default=Path("out/transfer.html"), help="the figure, or a folder for it"
    )
    return parser.parse_args()


def main() -> None:
    """The main job: one table, one figure."""
    arguments = parse_arguments()
    out = output_file(arguments.out, "transfer.html", FIGURE_ENDINGS)
    began = time.perf_counter()
    bundled = {arguments.source, arguments.target} <= set(BUNDLED)
    task = arguments.task or ("ioi" if bundled else "ioi_english")
    n, seed = arguments.pairs or (96 if bundled else 32), arguments.seed
    source, target = (
        load_model(name, dtype=arguments.dtype) for name in (arguments.source, arguments.target)
    )
    data = {name: load_task(name, n=n, seed=seed) for name in (task, *training_tasks(task))}
    train, left_out = doable_tasks(data, [source, target])
    for name, reason in left_out.items():
        print(f"{name} is left out: {reason}")
    if task not in train or len(train) < 2:
        raise SystemExit(f"both models must be able to do {task} and at least one other task")
    test = load_task(task, split="test", n=n, seed=seed)

    source_scores = {
        name: attribute(source, pairs, arguments.method) for name, pairs in train.items()
    }
    gold = attribute(target, train[task], arguments.method)

    others = {name: pairs for name, pairs in train.items() if name != task}
    config = AlignmentConfig(seed=seed)
    in_distribution = align({task: source_scores[task]}, target, {task: train[task]}, config)
    zero_shot = align({name: source_scores[name] for name in others}, target, others, config)
    constant = controls.uniform_s(source.nodes)
    uniform = align(dict.fromkeys(others, constant), target, others, config)
    random = controls.random_W(source.nodes, target.nodes, AlignmentConfig.paper(seed=seed))

    scores = {
        "gold": gold,
        "aligned, in-distribution": in_distribution.transfer(source_scores[task]),
        "aligned, zero-shot": zero_shot.transfer(source_scores[task]),
        "control: no source": uniform.transfer(constant),
        "control: random W": random.transfer(source_scores[task]),
    }
    curves = {
        name: by_metric["logit_diff"]
        for name, by_metric in evaluate_many(target, test, scores).items()
    }

    table = pd.DataFrame(
        {
            "CPR": {name: curve.cpr for name, curve in curves.items()},
            "CMD": {name: curve.cmd for name, curve in curves.items()},
            "of gold": {name: curve.cpr / curves["gold"].cpr for name, curve in curves.items()},
        }
    )
    floor = curves["gold"].floor
    print(f"\n{task}: {source.name} -> {target.name}, {arguments.method}, {len(test)} test pairs")
    print(table.to_string(float_format="{:.3f}".format))
    print(f"floor: CPR {floor:.3f} (a circuit that recovers nothing before all nodes are kept)")
    title = f"{source.name} to {target.name}: {arguments.method}, {len(test)} test pairs"
    figure = faithfulness_curves({task: curves}, title=title)
    figure.update_layout(width=900, height=600)
    save_figure(figure, out)
    print(f"figure: {out}, {time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    try:
        main()
    except DFAError as error:
        raise SystemExit(f"error: {error}") from error
