"""The sections of a report and what they contain, in the order of a paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from dfa_tl.analysis import Table
from dfa_tl.analysis.select import pair_label
from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.controls.registry import CONTROLS, FREE_MASK, NO_SOURCE
from dfa_tl.errors import DFAError
from dfa_tl.evaluation.intervals import seed_spread
from dfa_tl.models.attention import AttentionPatterns
from dfa_tl.report.figures import Drawing, NotDrawn, Subject, draw_section
from dfa_tl.report.findings import REGIMES
from dfa_tl.report.wording import arrow
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.results import StudyResults
from dfa_tl.tasks.registry import load_task
from dfa_tl.viz.attention import AttentionView, attention_view, token_view

AVERAGE_NOTE = (
    "sd is the standard deviation of the average over seeds. The interval is Student's t over the "
    "tasks and applies to other tasks. Rows share their tasks, so compare two rows by the "
    "interval of their difference, not by the overlap of their intervals."
)
NOTES: Mapping[str, str] = {
    "leaderboard": f"Mean over seeds; {AVERAGE_NOTE}",
    "control_levels": f"Mean over seeds and draws; {AVERAGE_NOTE} The control target_only has seen "
    "the test task; the other trained controls have not.",
    "overall": "Intervals resample families of tasks, seeds and test pairs together, so they apply "
    "to other tasks and seeds. Better: how many tasks have a difference above zero.",
    "recovery": "Recovery is CPR divided by gold CPR. For recovery above the floor, the CPR of "
    "random W is subtracted from both; this is unstable where gold is close to random W, and is "
    "left out where it has no meaning.",
    "break_even": "CPR of gold circuits by the number of target pairs they were attributed on, and "
    "the smallest number that reaches the regime's CPR (-: none that was tried).",
    "sensitivity": "Mean CPR over tasks; a column is a combination of protocol, ranking, metric "
    "and grid.",
    "structure": "Correlation and overlap with the gold scores, and correlation of the mean score "
    "by depth with the source's; mean over tasks and seeds.",
}
EFFECT_NOTE = (
    "Intervals resample seeds and test pairs. P-values come from a permutation test with Holm's "
    "correction; <= means that no permutation was as extreme. Sd over seeds says how much the "
    "difference varies when pairs, W and controls are drawn again."
)
TERMS: Mapping[str, str] = {
    "node": "one attention head (a3.h1: layer 3, head 1) or one MLP block (m3)",
    "circuit": "the nodes with the highest scores; the rest take their values on the corrupt "
    "prompt",
    "faithfulness f": "(m(circuit) − m(corrupt)) / (m(clean) − m(corrupt)), for a metric m "
    "averaged over pairs: 1 is the whole model, 0 the corrupt run",
    "CPR": "the area under f against the kept proportion of nodes k; higher is better",
    "CMD": "the area under |1 − f| against the kept proportion of nodes k; lower is better",
    "floor": "the CPR of a circuit that recovers nothing before all nodes are kept",
    "W": "the map from source to target scores that Differentiable Faithfulness Alignment (DFA, "
    "arXiv 2604.24302) learns: predicted target scores = s W",
    **{regime.value: f"W trained on {regime.trained_on}" for regime in REGIMES},
    GOLD: "circuits attributed on the target itself",
}


class ReportTable(NamedTuple):
    """A table of a report: its anchor, the table, and how to read it."""

    id: str
    table: Table
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        id: Its anchor.
        title: Its heading.
        text: A paragraph before its figures.
        drawings, tables, views: Its figures, tables and attention views.
        further: Figures of other pairs and methods, each folded below its title.
        terms: Names and their meanings.
        code: Listings by heading.
    """

    id: str
    title: str
    text: str = ""
    drawings: tuple[Drawing | NotDrawn, ...] = ()
    further: tuple[Drawing | NotDrawn, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    views: tuple[AttentionView, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()
    code: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing but its text."""
        return not (self.drawings or self.tables or self.views or self.terms or self.code)


def sections(
    subject: Subject, tables: Mapping[str, Table], attention: Mapping[str, AttentionPatterns]
) -> Iterator[Section]:
    """All sections that have something to show.

    Args:
        subject: What the figures are about.
        tables: Tables by name, those of `headline`.
        attention: Patterns by title.
    """
    results = subject.results
    shown = [
        *(_measured(subject, tables) if results.evaluations else ()),
        Section(
            "attention",
            "Attention",
            "What the circuits' heads attend to, on a clean and a corrupt prompt.",
            views=tuple(
                view
                for title, patterns in attention.items()
                for view in (
                    attention_view(patterns, title=title),
                    token_view(patterns, title=f"{title}: attention from the last token"),
                )
            ),
        ),
        _settings(results),
        Section(
            "terms",
            "Terms",
            terms=(
                *TERMS.items(),
                *((name, CONTROLS[name].description) for name in results.config.controls),
            ),
        ),
        _reproduce(results.config),
    ]
    yield from (section for section in shown if not section.is_empty)


def _measured(subject: Subject, tables: Mapping[str, Table]) -> Iterator[Section]:
    config, method = subject.results.config, subject.method
    pair = arrow(pair_label(subject.results, subject.pair))

    def section(name: str, title: str, text: str, *shown: str) -> Section:
        return Section(
            name,
            title,
            text,
            tuple(draw_section(name, subject)),
            tables=tuple(_table(one, tables[one], config) for one in shown if one in tables),
        )

    yield section(
        "faithfulness",
        "Faithfulness",
        f"Figures are of {pair} with {method}.",
        "leaderboard",
        "recovery",
    )
    yield section(
        "controls",
        "Controls",
        "How much CPR remains without the source, without the order of its nodes or without "
        "training, and what supervision on the target gives.",
        "overall",
        f"effect:{NO_SOURCE.name}",
        f"effect:{FREE_MASK.name}",
        "control_levels",
    )
    yield section(Regime.CROSS_TASK.value, "Transfer between tasks", "", "cross_task")
    yield section(
        "cost",
        "Cost",
        "A transfer pays off where direct attribution on the target would need more pairs, or more "
        "passes, to do as well.",
        "break_even",
    )
    yield section(
        "circuit",
        f"One circuit: {subject.task}",
        f"The {subject.regime} circuit of {subject.task} for {pair}, with {method} and seed "
        f"{config.seeds[0]}.",
    )
    yield section(
        "robustness",
        "Robustness to evaluation choices, and similarity to gold",
        "",
        "effect_by_choice",
        "sensitivity",
        "structure",
    )


def _table(name: str, table: Table, config: StudyConfig) -> ReportTable:
    """A table of the study without empty columns, and without those that its note can name."""
    frame = with_average_intervals(table.frame, config)
    same = [
        column
        for column in ("pair", "method", "direct method")
        if column in frame and frame[column].nunique(dropna=False) == 1
    ]
    note = EFFECT_NOTE if name.startswith("effect:") else NOTES.get(name, "")
    note += "".join(f" {one.capitalize()}: {arrow(str(frame[one].iloc[0]))}." for one in same)
    shown = Table(_without_empty(frame.drop(columns=same)), table.title, table.upper_bounds)
    return ReportTable(f"table-{name.replace(':', '-').replace('_', '-')}", shown, note.strip())


def _without_empty(frame: pd.DataFrame) -> pd.DataFrame:
    kept: Any = frame[[name for name in frame if not frame[name].isna().all()]]
    return kept


def with_average_intervals(frame: pd.DataFrame, config: StudyConfig) -> pd.DataFrame:
    """A table by task, with the t interval over tasks of its `average`."""
    if "average" not in frame:
        return frame
    limits: list[tuple[float | None, float | None]] = []
    for row in frame[[task for task in config.tasks if task in frame]].to_numpy(float):
        values = row[np.isfinite(row)]
        found = seed_spread(values, level=config.level).interval if len(values) else None
        limits.append((found.low, found.high) if found else (None, None))
    after = list(frame).index("average") + 1
    wider = frame.copy()
    wider.insert(after, "average low", [low for low, _ in limits])
    wider.insert(after + 1, "average high", [high for _, high in limits])
    return wider


def _settings(results: StudyResults) -> Section:
    """What was run: tasks, settings, models and versions."""
    config = results.config
    settings = {
        name: value
        for name, value in config.to_dict().items()
        if name not in ("variants", "pairs", "tasks")
    }
    variants = pd.DataFrame(
        [{"settings": name} | asdict(value) for name, value in config.variants.items()]
    ).astype(object)
    examples = pd.DataFrame([_example(task, config) for task in config.tasks])
    external_data = {
        f"{task}, {split}": f"sha256 {value}"
        for task, by_split in results.data_hashes.items()
        for split, value in by_split.items()
    }
    shown = {
        "tasks": Table(examples, "Tasks, with one test pair each"),
        "models": _facts("Models", results.model_hashes),
        **({"data": _facts("External data", external_data)} if external_data else {}),
        "settings": _facts("Settings of the study", settings),
        "alignments": Table(_without_empty(variants), "Settings of the alignments"),
        "versions": _facts("Versions", results.versions),
    }
    tables = tuple(ReportTable(f"table-{name}", table) for name, table in shown.items())
    return Section("study", "What was run", tables=tables)


def _facts(title: str, values: Mapping[str, Any]) -> Table:
    """Names and values as a table of two columns."""
    texts = [_value_text(value) for value in values.values()]
    return Table(pd.DataFrame({"name": list(values), "value": texts}), title)


def _value_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value_text, value)) or "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_value_text(one)}" for name, one in value.items()) or "none"
    return "default" if value is None else str(value)


def _example(task: str, config: StudyConfig) -> dict[str, str]:
    columns = ("clean prompt", "answer", "corrupt prompt", "wrong answer")
    try:
        pair = load_task(task, split=config.test_split, n=1, seed=config.test_seed).pairs[0]
    except DFAError:  # the study may be read on a machine without its data
        return {"task": task} | dict.fromkeys(columns, "not available")
    texts = (pair.clean, str(pair.answer).strip(), pair.corrupt, str(pair.wrong_answer).strip())
    return {"task": task} | dict(zip(columns, texts, strict=True))


def _reproduce(config: StudyConfig) -> Section:
    settings = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
    return Section(
        "reproduce",
        "How to reproduce",
        "The same settings, models and versions give the same numbers. To resume a study "
        "that was stopped, run the first command again.",
        code=(
            (
                "Commands",
                "dfa-tl study study.yaml --out study\ndfa-tl tables study\ndfa-tl report study",
            ),
            ("study.yaml", settings),
        ),
    )
