"""The benchmark's tasks, from data sets of its schema, against its rules written out again."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import datasets
import pytest
import torch
from torch import Tensor

from dfa_tl import load_task, report_pairs
from dfa_tl.errors import ConfigError, DataError
from dfa_tl.tasks import MIB_TASKS

FOLDER = Path(__file__).parent / "data" / "mib"
FOLDERS = {task: task.removeprefix("mib/") for task in MIB_TASKS} | {"mib/mcqa": "copycolors_mcqa"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """What the datasets library prepares goes to a temporary folder, kept between the tests."""
    cache = tmp_path_factory.getbasetemp() / "datasets"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def rows_of(task: str, split: str = "train") -> list[dict]:
    (file,) = (FOLDER / FOLDERS[task]).rglob(f"{split}.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def expected(task: str, row: dict) -> tuple[str, str, str, str] | None:
    """Clean, corrupt, answer, wrong answer; None where the benchmark leaves the row out."""
    if task == "mib/ioi":
        names = row["metadata"]
        other = row["s2_io_flip_counterfactual"]
        return (
            row["prompt"],
            other["prompt"],
            " " + names["indirect_object"],
            " " + names["subject"],
        )
    if task.startswith("mib/arithmetic"):
        sign = "+" if task.endswith("addition") else "-"
        other = row["random_counterfactual"]
        if other is None or row["operator"] != sign:
            return None
        return row["prompt"], other["prompt"], row["label"], other["label"]
    other = row["symbol_counterfactual"]
    labels = [each["choices"]["label"][each["answerKey"]] for each in (row, other)]
    return row["prompt"], other["prompt"], *labels


class Pieces:
    """A tokenizer that cuts words into pieces of three letters, so that most are several tokens."""

    unknown_token = None
    vocabulary_size = 10_000
    context_length = 10_000

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def split(self, text: str) -> list[str]:
        words = re.findall(r" ?[^ ]+", text)
        return [word[i : i + 3] for word in words for i in range(0, len(word), 3)]

    def answer_tokens(self, answer: str) -> Tensor:
        return torch.tensor([self.ids.setdefault(p, len(self.ids)) for p in self.split(answer)])

    def prompt_tokens(self, prompt: str, prepend_bos: bool | None = None) -> Tensor:
        return self.answer_tokens(prompt)


@pytest.mark.parametrize("task", MIB_TASKS)
def test_pairs_are_the_benchmarks(task, toy_small):
    data = load_task(task, path=FOLDER / FOLDERS[task])
    wanted = [pair for row in rows_of(task) if (pair := expected(task, row))]
    assert [(p.clean, p.corrupt, p.answer, p.wrong_answer) for p in data.pairs] == wanted
    assert data.name == task
    tokens = data.tokenize(toy_small)
    vocabulary = toy_small.tl.tokenizer.get_vocab()
    assert tokens.answers.tolist() == [
        [vocabulary[answer.strip()] for answer in pair[2:]] for pair in wanted
    ]
    report = report_pairs(toy_small, data)
    assert report.accuracy == 1
    assert report.warning is None


def test_the_third_name_must_be_as_long(toy_small):
    data = load_task("mib/ioi", path=FOLDER / "ioi")
    assert [p.as_long for p in data.pairs] == [
        (" " + row["metadata"]["random_c"],) for row in rows_of("mib/ioi")
    ]


def test_names_of_several_tokens_count_with_their_first(caplog):
    tokenizer = Pieces()
    data = load_task("mib/ioi", path=FOLDER / "ioi")

    def n_pieces(name: str) -> int:
        return -(-len(" " + name) // 3)

    kept = []
    for row in rows_of("mib/ioi"):
        names = [row["metadata"][k] for k in ("indirect_object", "subject", "random_c")]
        if len({n_pieces(name) for name in names}) == 1 and names[0][:2] != names[1][:2]:
            kept.append([f" {name}"[:3] for name in names[:2]])
    assert 0 < len(kept) < len(data)
    with caplog.at_level(logging.WARNING):
        tokens = data.tokenize(tokenizer)
    text = {i: piece for piece, i in tokenizer.ids.items()}
    assert [[text[i] for i in pair] for pair in tokens.answers.tolist()] == kept
    # The names of the prompt are equally long there; the third one is not.
    assert "different numbers of tokens (' Clara' 2, ' Sarah' 2, ' Robert' 3)" in caplog.text
    assert "2 of 6 pairs of 'mib/ioi' cannot be used and were left out" in caplog.text


def test_rows_left_out_are_counted_in_the_report(toy_small):
    data = load_task("mib/arithmetic_addition", path=FOLDER / "arithmetic_addition")
    assert (len(rows_of("mib/arithmetic_addition")), len(data)) == (7, 5)
    text = str(report_pairs(toy_small, data))
    assert "left out: 2 rows without counterfactual or of another operator" in text


class Digits(Pieces):
    """Every digit is a token, as in Qwen's tokenizer."""

    def split(self, text: str) -> list[str]:
        return [piece for word in text.split() for piece in (word if word.isdigit() else [word])]


def test_a_filter_that_leaves_nothing_says_why():
    data = load_task("mib/arithmetic_addition", path=FOLDER / "arithmetic_addition")
    with pytest.raises(DataError) as caught:
        data.tokenize(Digits())
    message = str(caught.value)
    assert "5 of 5 pairs of 'mib/arithmetic_addition' cannot be used" in message
    assert "is 2 tokens; it must be exactly one; this tokenizer splits numbers" in message
    assert "None is left: this task does not suit the model's tokenizer" in message


def test_n_counts_after_the_filter():
    whole = load_task("mib/ioi", path=FOLDER / "ioi").tokenize(Pieces())
    first = load_task("mib/ioi", path=FOLDER / "ioi", n=2)
    assert len(first) == 2
    tokens = first.tokenize(Pieces())
    assert len(tokens) == 2
    assert tokens.clean[0].tolist()[:5] == whole.clean[0].tolist()[:5]
    assert len(first[:1].tokenize(Pieces())) == 1
    assert len(first[:0]) == 0
    with pytest.raises(ConfigError, match="a slice must begin at the first pair"):
        first[1:]


def test_fewer_than_n_after_the_filter_is_logged(caplog):
    data = load_task("mib/ioi", path=FOLDER / "ioi", n=6)
    with caplog.at_level(logging.WARNING):
        n_used = len(data.tokenize(Pieces()))
    assert n_used < 6
    assert f"'mib/ioi': 6 pairs were asked for, {n_used} can be used" in caplog.text


def test_seeds_shuffle_and_splits_differ():
    def prompts(**options):
        return [p.clean for p in load_task("mib/ioi", path=FOLDER / "ioi", **options).pairs]

    in_order = [row["prompt"] for row in rows_of("mib/ioi")]
    assert prompts() == in_order
    assert prompts(seed=1) == prompts(seed=1) != in_order
    assert sorted(prompts(seed=1)) == sorted(in_order)
    assert prompts(split="test") == [row["prompt"] for row in rows_of("mib/ioi", "test")]


def test_a_data_set_saved_to_disk(tmp_path):
    there = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows_of("mib/arc_easy"))})
    there.save_to_disk(tmp_path / "saved")
    saved = load_task("mib/arc_easy", path=tmp_path / "saved")
    assert saved.pairs == load_task("mib/arc_easy", path=FOLDER / "arc_easy").pairs


def test_the_hub_names_and_configurations(monkeypatch):
    asked = []

    def load_dataset(name, config=None):
        asked.append((name, config))
        raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' is a gated dataset")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for task in MIB_TASKS:
        with pytest.raises(
            DataError, match=r"gated dataset.*hf auth login.*give it as path=FOLDER"
        ):
            load_task(task)
    assert asked == [
        ("mib-bench/ioi", None),
        ("mib-bench/copycolors_mcqa", "4_answer_choices"),
        ("mib-bench/arithmetic_addition", None),
        ("mib-bench/arithmetic_subtraction", None),
        ("mib-bench/arc_easy", None),
        ("mib-bench/arc_challenge", None),
    ]


def test_without_a_network_the_error_says_what_to_do():
    # The tests run offline (conftest), so this is the library's own answer.
    with pytest.raises(DataError, match=r"mib-bench/ioi cannot be loaded.*check the network"):
        load_task("mib/ioi")
