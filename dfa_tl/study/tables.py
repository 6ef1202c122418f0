"""The paper's tables, and those that it lacks, from the tidy table of a study.

Numbers are means over seeds (and draws) of the headline's CPR: first protocol, ranking, metric and
grid of the study. Every table goes to Markdown, CSV and LaTeX.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dfa_tl.evaluation.statistics import recovery
from dfa_tl.study.store import replace_file

if TYPE_CHECKING:
    from dfa_tl.study.results import StudyResults

SETTINGS = {
    "gold": "Gold",
    "in-distribution": "DFA (in-distribution)",
    "near-distribution": "DFA (near-distribution)",
    "zero-shot": "DFA (zero-shot)",
    "all": "DFA (all tasks)",
}
CSV_FORMAT = "%.6g"  # beyond it, results differ between machines


@dataclass(frozen=True, eq=False)
class Table:
    """A table.

    Attributes:
        frame: One column per heading, numbers unrounded; missing where there is no value.
        title: What it shows.
    """

    frame: pd.DataFrame
    title: str = ""

    def _texts(self, decimals: int) -> list[list[str]]:
        def text(value: object) -> str:
            if value is None or value is pd.NA or value != value:
                return "-"
            return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)

        return [[text(value) for value in row] for row in self.frame.itertuples(index=False)]

    def to_markdown(self, decimals: int = 2) -> str:
        """A Markdown table under its title."""
        heading = [str(column) for column in self.frame.columns]
        rows = [heading, ["---"] * len(heading), *self._texts(decimals)]
        lines = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
        return "\n".join([*([f"**{self.title}**", ""] if self.title else []), *lines]) + "\n"

    def to_csv(self) -> str:
        """CSV, six significant digits."""
        return self.frame.to_csv(index=False, float_format=CSV_FORMAT, lineterminator="\n")

    def to_latex(self, decimals: int = 2) -> str:
        r"""A LaTeX `tabular` with `booktabs` rules, in a `table` with a caption."""
        replaced = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "->": r"$\to$"}

        def cells(row: Sequence[str]) -> str:
            texts = list(row)
            for plain, escaped in replaced.items():
                texts = [text.replace(plain, escaped) for text in texts]
            return " & ".join(texts) + r" \\"

        numeric = [pd.api.types.is_numeric_dtype(kind) for kind in self.frame.dtypes]
        columns = "".join("r" if is_number else "l" for is_number in numeric)
        heading = cells([str(column) for column in self.frame.columns])
        body = [cells(row) for row in self._texts(decimals)]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{cells([self.title])[:-3]}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                heading,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write `name`.csv, .md and .tex."""
        texts = {"csv": self.to_csv(), "md": self.to_markdown(), "tex": self.to_latex()}
        paths = [folder / f"{name}.{suffix}" for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            replace_file(path, text.encode())
        return paths


def write_frame(frame: pd.DataFrame, path: Path) -> Path:
    """Write a tidy table as CSV."""
    text = frame.to_csv(index=False, float_format=CSV_FORMAT, lineterminator="\n")
    replace_file(path, text.encode())
    return path


def _mean_by_task(rows: Any, index: Sequence[str], tasks: Sequence[str]) -> pd.DataFrame:
    """One row per `index`, one column per task and their mean over tasks that have a value."""
    wide = rows.pivot_table(index=list(index), columns="test_task", values="cpr", sort=False)
    wide = wide.reindex(columns=list(tasks))
    return wide.assign(average=wide.mean(axis=1)).rename_axis(columns=None)


def _variant_name(setting: str, variant: str, headline: str) -> str:
    return setting if variant in ("", headline) else f"{setting}, {variant}"


def leaderboard(results: StudyResults) -> Table:
    """Random baseline, then gold and every regime under every method."""
    config = results.config
    rows: Any = results.headline()
    main = next(iter(config.variants))
    parts = []
    for pair in config.pairs:
        of_pair = rows[rows["pair"] == pair.name]
        random = of_pair[of_pair["regime"] == "random_W"].assign(
            method="baseline", setting="random W"
        )
        parts.append(random)
        for method in config.methods:
            for setting, label in SETTINGS.items():
                chosen = of_pair[(of_pair["method"] == method) & (of_pair["regime"] == setting)]
                names = [_variant_name(label, variant, main) for variant in chosen["variant"]]
                parts.append(chosen.assign(setting=names))
    table = _mean_by_task(pd.concat(parts), ["pair", "method", "setting"], config.tasks)
    return Table(table.reset_index(), _title("CPR of carried-over circuits", results))


def ablations(results: StudyResults) -> Table:
    """Every control next to zero-shot, and to each task's best regime (chosen on test pairs)."""
    config = results.config
    rows: Any = results.headline()
    main = next(iter(config.variants))
    parts = []
    for pair in config.pairs:
        of_pair = rows[(rows["pair"] == pair.name) & rows["variant"].isin(["", main])]
        for method in config.methods:
            for control in config.controls:
                chosen = of_pair[
                    of_pair["method"].isin([method, "none"]) & (of_pair["regime"] == control)
                ]
                parts.append(chosen.assign(method=method, setting=control))
            regimes = of_pair[
                (of_pair["method"] == method) & of_pair["regime"].isin(list(SETTINGS)[1:])
            ]
            zero_shot = regimes[regimes["regime"] == "zero-shot"]
            parts.append(zero_shot.assign(setting="DFA (zero-shot)"))
            means = regimes.groupby(["pair", "method", "test_task", "regime"], as_index=False)[
                "cpr"
            ]
            best = (
                means.mean().groupby(["pair", "method", "test_task"], as_index=False)["cpr"].max()
            )
            parts.append(best.assign(setting="DFA (best regime, chosen on test)"))
    table = _mean_by_task(pd.concat(parts), ["pair", "method", "setting"], config.tasks)
    return Table(table.reset_index(), _title("CPR of controls", results))


def scaling(results: StudyResults) -> Table:
    """Mean recovery of gold by pair, method and regime, over tasks where it is defined."""
    config = results.config
    rows: Any = results.headline()
    main = next(iter(config.variants))
    found = []
    for pair in config.pairs:
        for method in config.methods:
            chosen = rows[(rows["pair"] == pair.name) & (rows["method"] == method)]
            chosen = chosen[chosen["variant"].isin(["", main])]
            cpr = chosen.groupby(["regime", "test_task"])["cpr"].mean()
            floor = float(chosen["floor"].iloc[0]) if len(chosen) else 0.0
            for regime in list(SETTINGS)[1:]:
                if regime not in chosen["regime"].to_numpy():
                    continue
                each = [
                    recovery(
                        float(cpr[regime, task]),
                        float(cpr["gold", task]),
                        float(cpr.get(("random_W", task), floor)),
                        floor=floor,
                    )
                    for task in config.tasks
                    if (regime, task) in cpr.index
                ]
                defined = [one for one in each if one.ratio is not None]
                found.append(
                    {
                        "pair": pair.name,
                        "method": method,
                        "setting": SETTINGS[regime],
                        "gold": float(cpr["gold"].mean()),
                        "aligned": float(cpr[regime].mean()),
                        "recovery": _mean([one.ratio for one in defined]),
                        "recovery above floor": _mean([one.above_floor for one in defined]),
                        "tasks": len(each),
                        "undefined": len(each) - len(defined),
                    }
                )
    return Table(pd.DataFrame(found), _title("Recovery of gold CPR", results))


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def cross_task(results: StudyResults) -> Table:
    """Train tasks down, test tasks across."""
    rows: Any = results.headline()
    chosen = rows[rows["regime"] == "cross-task"].rename(columns={"train_tasks": "trained on"})
    if chosen.empty:
        return Table(pd.DataFrame())
    order = {task: place for place, task in enumerate(results.config.tasks)}
    chosen = chosen.sort_values("trained on", key=lambda names: names.map(order), kind="stable")
    chosen = chosen.sort_values(["pair", "method"], kind="stable")
    table = _mean_by_task(chosen, ["pair", "method", "trained on"], results.config.tasks)
    return Table(table.reset_index(), _title("CPR by train and test task", results))


def sensitivity(results: StudyResults) -> Table:
    """One row per circuit, one column per way of measuring."""
    rows: Any = results.frame()
    first: Any = results.headline().iloc[:1]
    varied = rows[rows["draw"] == 0]
    views = varied[["protocol", "ranking", "metric"]].drop_duplicates()
    headline = first[["protocol", "ranking", "metric"]].iloc[0]
    other = varied[(varied[["protocol", "ranking", "metric"]] != headline).any(axis=1)]
    keys = ["pair", "method", "regime", "variant"]
    if len(views) > 1:
        varied = varied.merge(other[keys].drop_duplicates(), on=keys)
    else:
        varied = varied[~varied["regime"].isin(["few-pairs", "cross-task"])]
    columns = varied[["protocol", "ranking", "metric", "grid"]].agg(", ".join, axis=1)
    wide = varied.assign(way=columns).pivot_table(
        index=keys, columns="way", values="cpr", sort=False
    )
    return Table(wide.rename_axis(columns=None).reset_index(), "CPR by way of measuring")


def structure(results: StudyResults) -> Table:
    """Correlation and overlap with gold, and correlation with the source's layer profile."""
    rows: Any = results.headline()
    rows = rows[~rows["regime"].isin(["few-pairs", "gold"]) & (rows["method"] != "none")]
    values = [
        name for name in rows if name.startswith(("pearson", "spearman", "overlap", "profile"))
    ]
    numbers = rows.assign(**{name: pd.to_numeric(rows[name]) for name in values})
    means = numbers.groupby(["pair", "method", "regime", "variant"], sort=False)[values].mean()
    return Table(means.reset_index(), "Structure kept")


def worth(results: StudyResults, regime: str) -> Table:
    """The smallest number of target pairs whose gold circuit reaches the regime's CPR.

    Gold CPR is the mean over draws and seeds; missing where no number tried reaches it.
    """
    config = results.config
    rows: Any = results.headline()
    main = next(iter(config.variants))
    found = []
    for pair in config.pairs:
        of_pair = rows[rows["pair"] == pair.name]
        for method in config.methods:
            ours = of_pair[(of_pair["method"] == method) & (of_pair["regime"] == regime)]
            ours = ours[ours["variant"] == main].groupby("test_task")["cpr"].mean()
            for direct in config.worth_methods:
                few = of_pair[
                    (of_pair["method"] == direct) & of_pair["regime"].isin(["few-pairs", "gold"])
                ]
                sizes = few.groupby(["test_task", "pairs"])["cpr"].mean()
                for task in config.tasks:
                    if task not in ours.index or task not in few["test_task"].to_numpy():
                        continue
                    by_size = sizes[task]
                    enough = by_size.index[by_size >= ours[task]]
                    found.append(
                        {
                            "pair": pair.name,
                            "method": method,
                            "task": task,
                            regime: float(ours[task]),
                            "direct method": direct,
                            "pairs needed": int(enough.min()) if len(enough) else pd.NA,
                            **{f"CPR from {n}": float(v) for n, v in by_size.items()},
                        }
                    )
    table = pd.DataFrame(found)
    if found:
        table["pairs needed"] = table["pairs needed"].astype("Int64")
    return Table(
        table, _title(f"Target pairs that direct attribution needs to reach {regime}", results)
    )


def _title(what: str, results: StudyResults) -> str:
    config = results.config
    floors = results.headline()["floor"]
    return (
        f"{what} (protocol {config.protocols[0]}, {config.rankings[0]} ranking, "
        f"{config.grids[0]} grid, {config.test_pairs} test pairs, {len(config.seeds)} seeds; "
        f"floor {floors.iloc[0]:.3f})"
    )
