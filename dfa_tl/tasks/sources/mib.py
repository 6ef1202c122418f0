"""The six tasks of the Mechanistic Interpretability Benchmark, from its data sets on the hub.

| task | data set | corrupt prompt | answer, wrong answer | kept when |
|---|---|---|---|---|
| `mib/ioi` | ioi | s2_io_flip_counterfactual | " " + indirect object, " " + subject | both and " " + random_c have equally many tokens |
| `mib/mcqa` | copycolors_mcqa, 4 choices | symbol_counterfactual | its label, the counterfactual's | both labels have equally many tokens |
| `mib/arc_easy`, `mib/arc_challenge` | the same | symbol_counterfactual | the same | the same |
| `mib/arithmetic_addition`, `mib/arithmetic_subtraction` | the same | random_counterfactual | its label, the counterfactual's | the operator is the task's, there is a counterfactual, both labels are one token |

The answer token is the first token of the answer. Pairing and filters are those of the benchmark's
circuit track (Mueller et al. 2025, arXiv 2504.13151, `HFEAPDataset`). Two more kinds of pairs are
left out here: prompts of unequal token length, which no method of this package can compare, and
answers whose first tokens are equal, whose metric is always 0.

Every prompt begins with a BOS, as the benchmark's do (`to_tokens(prepend_bos=True)`): also for models
that use none by default (Pythia), and as the token that TransformerLens puts there where a tokenizer
has none (Qwen-2.5: its EOS). A model that was loaded with `prepend_bos=False` gets no BOS. What depends on a tokenizer is
decided when the pairs are tokenised, for each model by itself; `report_pairs` lists it.
"""  # noqa: E501

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfa_tl.errors import ConfigError, DataError
from dfa_tl.io.atomic import user_path
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.prompt_pair import PromptPair, valid_text
from dfa_tl.tasks.task import check_pair_count
from dfa_tl.tasks.tokenization import AnswerRule

Row = Mapping[str, Any]


@dataclass(frozen=True)
class MibTask:
    """How one task is read from its data set.

    Attributes:
        source: The data set on the hub.
        columns: The columns that are read.
        pair: Makes the pair of a row; None where the benchmark leaves the row out.
        answer_rule: How its answers become tokens.
        config: The data set's configuration; None for its only one.
    """

    source: str
    columns: tuple[str, ...]
    pair: Callable[[Row], PromptPair | None]
    answer_rule: AnswerRule
    config: str | None = None


def _ioi(row: Row) -> PromptPair:
    answer, wrong_answer, third = (
        f" {valid_text(row['metadata'][name])}"
        for name in ("indirect_object", "subject", "random_c")
    )
    corrupt = row["s2_io_flip_counterfactual"]["prompt"]
    return PromptPair(row["prompt"], corrupt, answer, wrong_answer, as_long=(third,))


def _choice(row: Row) -> PromptPair:
    def label(of: Row) -> str:
        return valid_text(of["choices"]["label"][of["answerKey"]])

    other = row["symbol_counterfactual"]
    return PromptPair(row["prompt"], other["prompt"], label(row), label(other))


def _number(row: Row) -> str:
    if not isinstance(row["label"], (str, int)):
        raise TypeError(f"the label must be a number, not {row['label']!r}")
    return str(row["label"])


def _arithmetic(operator: str) -> Callable[[Row], PromptPair | None]:
    def pair(row: Row) -> PromptPair | None:
        other = row["random_counterfactual"]
        if row["operator"] != operator or other is None or other["prompt"] is None:
            return None
        return PromptPair(row["prompt"], other["prompt"], _number(row), _number(other))

    return pair


def _choice_task(source: str, config: str | None = None) -> MibTask:
    columns = ("prompt", "choices", "answerKey", "symbol_counterfactual")
    return MibTask(source, columns, _choice, "first-token", config)


def _arithmetic_task(source: str, operator: str) -> MibTask:
    columns = ("prompt", "label", "operator", "random_counterfactual")
    return MibTask(source, columns, _arithmetic(operator), "one-token")


SOURCES: dict[str, MibTask] = {
    "mib/ioi": MibTask(
        "mib-bench/ioi", ("prompt", "metadata", "s2_io_flip_counterfactual"), _ioi, "first-token"
    ),
    "mib/mcqa": _choice_task("mib-bench/copycolors_mcqa", "4_answer_choices"),
    "mib/arithmetic_addition": _arithmetic_task("mib-bench/arithmetic_addition", "+"),
    "mib/arithmetic_subtraction": _arithmetic_task("mib-bench/arithmetic_subtraction", "-"),
    "mib/arc_easy": _choice_task("mib-bench/arc_easy"),
    "mib/arc_challenge": _choice_task("mib-bench/arc_challenge"),
}


def load_mib(
    name: str, *, split: str, n: int | None, seed: int, path: str | Path | None
) -> PairDataset:
    """Pairs of one of the benchmark's tasks; the arguments are those of `load_task`.

    Raises:
        ConfigError: unknown task or split, or `n` below 1.
        DataError: the data set cannot be loaded, has another schema, or too few rows.
    """
    if name not in SOURCES:
        raise ConfigError(f"unknown task {name!r}: choose one of {', '.join(SOURCES)}")
    check_pair_count(n)
    task = SOURCES[name]
    origin = task.source if path is None else str(path)
    splits = _load(task, path)
    if split not in splits:
        raise ConfigError(f"{origin} has no split {split!r}: choose one of {', '.join(splits)}")
    table = splits[split]
    missing = [column for column in task.columns if column not in table.column_names]
    if missing:
        raise DataError(
            f"{origin} is not a data set for {name}: it lacks {', '.join(missing)} and has "
            f"{', '.join(table.column_names)}"
        )
    pairs = []
    for number, row in enumerate(table.select_columns(list(task.columns))):
        try:
            pairs.append(task.pair(row))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise DataError(
                f"{origin}, split {split!r}, row {number} (from 0) is not a row of {name}: "
                f"{type(error).__name__} {error}"
            ) from error
    kept = [pair for pair in pairs if pair is not None]
    n_out = len(pairs) - len(kept)
    if len(kept) < (n or 1):
        raise DataError(
            f"{name}, split {split!r}: {n or 1} pairs were asked for, {origin} holds {len(kept)}"
            f"{f' ({n_out} rows have no counterfactual or another operator)' if n_out else ''}"
        )
    if seed:
        random.Random(f"{name}/{split}/{seed}").shuffle(kept)
    return PairDataset(
        tuple(kept),
        name=name,
        on_invalid="drop",
        answer_rule=task.answer_rule,
        prepend_bos=True,
        limit=n,
        left_out=(f"{n_out} rows without counterfactual or of another operator",) if n_out else (),
    )


def _load(task: MibTask, path: str | Path | None) -> Mapping[str, Any]:
    """The splits, through the `datasets` library."""
    # Imported here: it is slow to import, and only these tasks need it.
    import datasets
    from datasets.exceptions import DatasetsError

    folder = None if path is None else user_path(path)
    source = task.source if folder is None else str(folder)
    try:
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}")
        if folder is not None and (folder / "dataset_dict.json").is_file():
            return datasets.load_from_disk(source)  # type: ignore[return-value]
        return datasets.load_dataset(source, task.config)  # type: ignore[return-value]
    except (OSError, ValueError, DatasetsError) as error:
        advice = (
            f"It is fetched from the Hugging Face hub: check the network, and `hf auth login` if "
            f"access is restricted. Without a network: on a machine that has one, `hf download "
            f"--repo-type dataset {task.source} --local-dir FOLDER`, copy the folder, and give it "
            "as path=FOLDER"
            if path is None
            else f"path must be a copy of {task.source}, as `hf download --repo-type dataset "
            f"{task.source} --local-dir FOLDER` or its save_to_disk writes it"
        )
        raise DataError(
            f"the data set {source} cannot be loaded ({type(error).__name__}: {error}). {advice}"
        ) from error
