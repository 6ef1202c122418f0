r"""Write the measured tables of studies, and what they say, into docs/results.

python examples/study_bundled.py --zero-shot --seeds 0 1 --out out/study
python examples/study_real.py --pair DIR/SOURCE DIR/TARGET --out out/real
python benchmarks/nested_choice.py out/study out/real
python docs/make_results.py --bundled out/study --real out/real --larger out/larger \
    --half out/half

Without studies, only the tables of benchmarks are written. `docs/paper_tables.csv` holds Tables 1
to 5 of the paper.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dfa_tl import StudyResults, analysis
from dfa_tl.analysis.render import Table
from dfa_tl.io.atomic import write_file
from dfa_tl.report.findings import headline

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "results"
PAPER_FLOOR = 0.25
BENCHMARKS = {"learning_curve": "training_tasks", "refined_transfer": "pairs"}
"""Whose tables are written, and the column of the size that varies."""
SHOWN = (
    "levels", "overall", "leaderboard", "control_levels", "source_effect", "target_only_effect",
    "recovery", "structure",
)  # fmt: skip
"""The tables of a study that the pages include."""
LEAST_GOLD = 0.1
"""With gold less than this above the floor, a share of it says nothing."""
SCHEDULES = (
    "qwen2.5-coder-0.5b -> smollm2-135m, 1 seed", "qwen2.5-coder-0.5b -> smollm2-135m, 2 seeds",
    "llama3-1b -> llama3-8b, 1 seed", "llama3-1b -> llama3-8b, 2 seeds",
)  # fmt: skip
"""The simulated studies that the page about clusters shows."""
LEFT_OUT = {
    "": (),
    "real_": ("recovery", "structure"),
    "larger_": ("recovery", "structure", "control_levels", "leaderboard"),
    "half_": ("recovery", "structure", "control_levels", "leaderboard"),
}
"""Those that are left out for a study, by how the names of its files begin."""


def main() -> None:
    """Write every table of the studies as Markdown, and the statements of their reports."""
    parser = argparse.ArgumentParser(description="Tables for the documentation.")
    parser.add_argument("--bundled", type=Path, help="folder of the study of the bundled pair")
    parser.add_argument("--real", type=Path, help="folder of the study of a real pair")
    parser.add_argument("--larger", type=Path, help="that of a real pair with a larger target")
    parser.add_argument("--half", type=Path, help="that of real pairs with a target of 0.5B")
    arguments = parser.parse_args()
    for name, column in BENCHMARKS.items():
        if (ROOT / "benchmarks" / "results" / f"{name}.csv").exists():
            write_file(OUT / f"{name}.md", benchmark(name, column).encode())
    masks = measured("free_masks")
    by_circuit = masks.pivot(index=["model", "task"], columns="circuit", values=["cpr", "cmd"])
    by_circuit.columns = [f"{measure.upper()} {name}" for measure, name in by_circuit.columns]
    write_file(OUT / "free_masks.md", Table(by_circuit.reset_index()).to_markdown().encode())
    rounding = measured("precision").drop(columns=["precision", "pairs"])
    write_file(OUT / "precision.md", Table(rounding).to_markdown(decimals=3).encode())
    choice = Table(measured("nested_choice"))
    write_file(OUT / "nested_choice.md", choice.to_markdown().encode())
    gains = ["positions", "attribute", "evaluate", "train", "first", "error"]
    saved = measured("shared_prefix")[["model", "task", *gains]]
    saved["error"] = saved["error"].map("{:.0e}".format)
    write_file(OUT / "shared_prefix.md", Table(saved).to_markdown(decimals=2).encode())
    busy = measured("busy_workers")[["workers", "jobs", "busy", "simulated"]]
    write_file(OUT / "busy_workers.md", Table(busy).to_markdown().encode())
    write_file(OUT / "scheduling.md", schedules().to_markdown().encode())
    if arguments.bundled is not None:
        write_study(StudyResults.load(arguments.bundled), "")
    halves = {"first six": "real_settings", "other six": "real_settings_other"}
    settings: Any = pd.concat([measured(name).assign(tasks=half) for half, name in halves.items()])
    settings["circuit"] = settings["regime"].replace({"uniform_s": "no source"})
    settings = settings.rename(columns={"cpr": "CPR", "cmd": "CMD"})
    settings = settings[["tasks", "variant", "circuit", "CPR", "CMD"]]
    write_file(OUT / "real_settings.md", Table(settings).to_markdown().encode())
    folders = {"real_": arguments.real, "larger_": arguments.larger, "half_": arguments.half}
    pretrained = {prefix: StudyResults.load(path) for prefix, path in folders.items() if path}
    for prefix, results in pretrained.items():
        write_study(results, prefix)
    if pretrained:
        beside = beside_the_paper(list(pretrained.values()))
        write_file(OUT / "real_paper.md", beside.to_markdown().encode())
        effects = source_on_each_pair(list(pretrained.values()))
        write_file(OUT / "real_pairs.md", effects.to_markdown().encode())


def measured(name: str) -> Any:
    """What a benchmark measured."""
    return pd.read_csv(ROOT / "benchmarks" / "results" / f"{name}.csv")


def schedules() -> Table:
    """Speed-up over one worker in simulated studies, and how busy workers are."""
    rows: Any = pd.concat([measured("scheduling_real"), measured("scheduling")])
    rows["shown"] = (1 / rows["makespan"]).map("{:.1f}".format) + rows["busy"].map(
        " ({:.0%})".format
    )
    table = rows.pivot(index="workers", columns="study", values="shown")[list(SCHEDULES)]
    return Table(table.reset_index())


def write_study(results: StudyResults, prefix: str) -> None:
    """The study's tables and statements, in files whose names begin with the prefix."""
    tables = dict(analysis.all_tables(results))
    if "target_only" in results.config.controls:
        tables["target_only_effect"] = analysis.source_effect(results, "target_only")
    for name, table in tables.items():
        if name in SHOWN and name not in LEFT_OUT[prefix]:
            write_file(
                OUT / f"{prefix}{name}.md", short_names(table.to_markdown(), results).encode()
            )
    frames: dict[str, Any] = {name: table.frame for name, table in tables.items()}
    frames["effect:uniform_s"] = frames["source_effect"]
    frames["effect:target_only"] = frames.get("target_only_effect")
    head = headline(results, frames)
    said = [
        " ".join((f"**{one.label}{end}** {one.lead}", one.text, one.details)).strip()
        for one in head.statements
        for end in ("" if one.label.endswith("?") else ".",)
    ]
    write_file(OUT / f"{prefix}summary.md", ("\n\n".join(said) + "\n").encode())


def short_names(text: str, results: StudyResults) -> str:
    """The text with a model's folder named by the folder alone."""
    for pair in results.config.pairs:
        text = text.replace(pair.name, pair.label)
    return text


def source_on_each_pair(studies: Sequence[StudyResults]) -> Table:
    """Zero-shot minus no source on each pair, mean over tasks."""
    numbers = ["difference", "low", "high", "CMD difference", "CMD low", "CMD high"]
    parts = []
    for results in studies:
        rows: Any = analysis.all_tables(results)["overall"].frame
        own = rows[rows["against"] == "uniform_s"]
        labels = {pair.name: pair.label for pair in results.config.pairs}
        parts.append(own.assign(pair=own["pair"].map(labels)))
    table: Any = pd.concat(parts)[["pair", *numbers, "tasks", "seeds"]]
    return Table(table, "CPR: zero-shot minus no source")


def beside_the_paper(studies: Sequence[StudyResults]) -> Table:
    """Zero-shot CPR as a share of gold's, both above the floor: the paper's pairs and these.

    share = (CPR(zero-shot) - floor) / (CPR(gold) - floor)
    """
    paper: Any = pd.read_csv(ROOT / "docs" / "paper_tables.csv")
    means = paper.pivot(index=["pair", "method"], columns="circuit", values="average")
    rows = [
        {"pair": pair, "method": method, "measured by": "the paper", "floor": PAPER_FLOOR}
        | {name: row[name] for name in ("gold", "in-distribution", "zero-shot")}
        for (pair, method), row in means.iterrows()
        if not pd.isna(row["zero-shot"])
    ]
    for results in studies:
        levels: Any = analysis.levels(results).frame
        for (pair, method), level in levels.groupby(["pair", "method"]):
            cpr = level.set_index("circuit")["CPR"]
            known = {name: cpr[name] for name in ("gold", "zero-shot")}
            name = short_names(pair, results)
            rows.append(
                {"pair": name, "method": method, "measured by": "this toolkit"}
                | {"floor": level["floor"].iloc[0], **known}
            )
    table: Any = pd.DataFrame(rows)
    above = table["gold"] - table["floor"]
    table["share"] = ((table["zero-shot"] - table["floor"]) / above).where(above >= LEAST_GOLD)
    return Table(table, "CPR, mean over tasks")


def benchmark(name: str, column: str) -> str:
    """Mean CPR and CMD over families, by the size in a column: a table for each."""
    rows = measured(name)
    parts = []
    for (source, target), of_pair in rows.groupby(["source", "target"], sort=False):
        for measure in ("cpr", "cmd"):
            by_family = of_pair.groupby(["way", column, "family"])[measure].mean()
            # A mean over some of the families only would not compare with the others.
            means = by_family.unstack("family").dropna().mean(axis=1).unstack().sort_index(axis=1)
            means.columns = [f"n = {n}" for n in means.columns]
            title = f"{measure.upper()}, {source} -> {target}"
            parts.append(Table(means.reset_index(), title).to_markdown())
    return "\n".join(parts)


if __name__ == "__main__":
    main()
