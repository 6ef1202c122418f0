"""Bad input of every kind: each is refused with a message that says what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import datasets
import pandas as pd
import pytest
import torch

from dfa_tl import NodeModel, PairDataset, PromptPair, load_task, read_pairs
from dfa_tl.errors import ConfigError, DataError, DFAError, FileFormatError

MIB = Path(__file__).parent / "data" / "mib"
GOOD = load_task("ioi", n=3).pairs
ROW = {"clean": "Mary gave", "corrupt": "John gave", "answer": " a", "wrong_answer": " b"}
HEADER = ",".join(ROW)


class Place(NamedTuple):
    """Where a case may write, and the model that it may use."""

    folder: Path
    model: NodeModel

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


def csv(*lines: str) -> Callable[[Place], object]:
    return lambda place: read_pairs(place.file("mine.csv", "\n".join((HEADER, *lines))))


def jsonl(*lines: str) -> Callable[[Place], object]:
    return lambda place: read_pairs(place.file("mine.jsonl", "\n".join(lines)))


def table(*rows: dict, **options) -> Callable[[Place], object]:
    return lambda place: read_pairs(pd.DataFrame(list(rows)), **options)


def pairs(*changes: dict) -> Callable[[Place], object]:
    changed = [PromptPair(**(vars(GOOD[0]) | change)) for change in changes]
    return lambda place: PairDataset((GOOD[1], *changed), name="mine").tokenize(place.model)


def mib(name: str, **options) -> Callable[[Place], object]:
    return lambda place: load_task(name, path=MIB / name.removeprefix("mib/"), **options)


def truncated_parquet(place: Place) -> object:
    path = place.folder / "mine.parquet"
    pd.DataFrame([ROW]).to_parquet(path)
    return read_pairs(place.file("mine.parquet", path.read_bytes()[:-20]))


def odd_mib_row(place: Place) -> object:
    row = {"prompt": "a", "metadata": {"subject": "Mary"}, "s2_io_flip_counterfactual": None}
    place.file("train.jsonl", json.dumps(row))
    return load_task("mib/ioi", path=place.folder)


def broken_mib_file(place: Place) -> object:
    place.file("train.jsonl", '{"prompt": ')
    return load_task("mib/ioi", path=place.folder)


def tokens_out_of_vocabulary(place: Place) -> object:
    tokens = torch.tensor([[1, 2], [3, -1]])
    return PairDataset.from_tokens(tokens, tokens, torch.tensor([[1, 2], [1, 2]])).tokenize(
        place.model
    )


def too_many_tokens(place: Place) -> object:
    context = place.model.tl.cfg.n_ctx
    tokens = torch.ones(2, context + 1).long()
    lengths = torch.tensor([context, context + 1])
    return PairDataset.from_tokens(
        tokens, tokens, torch.tensor([[1, 2], [1, 2]]), lengths
    ).tokenize(place.model)


CASES: dict[str, tuple[Callable[[Place], object], type[DFAError], tuple[str, ...]]] = {
    # Files
    "no-file": (
        lambda place: read_pairs(place.folder / "none.csv"),
        FileFormatError,
        ("no file", "none.csv"),
    ),
    "a-folder": (
        lambda place: read_pairs(place.folder),
        ConfigError,
        ("unknown kind of file ''",),
    ),
    "unknown-extension": (
        lambda place: read_pairs(place.file("mine.xlsx", "x")),
        ConfigError,
        ("unknown kind of file '.xlsx'; choose one of .csv, .jsonl, .parquet",),
    ),
    "empty-file": (
        lambda place: read_pairs(place.file("mine.csv", "")),
        FileFormatError,
        ("mine.csv is empty",),
    ),
    "header-without-rows": (csv(), DataError, ("has no rows",)),
    "not-utf-8": (
        lambda place: read_pairs(
            place.file("mine.csv", f"{HEADER}\na,b,c,d\n".encode() + "é,b,c,d".encode("latin-1"))
        ),
        FileFormatError,
        ("mine.csv, line 3: not UTF-8; save it as UTF-8",),
    ),
    "csv-with-unquoted-commas": (
        csv("When Mary, John,b,c,d"),
        FileFormatError,
        ("line 2: 5 fields, the header has 4; quote texts that contain a comma",),
    ),
    "csv-with-a-short-row": (csv("a,b,c,d", "a,b"), FileFormatError, ("line 3: 2 fields",)),
    "csv-with-an-open-quote": (csv('a,b,c,"d'), FileFormatError, ("line 2: not CSV",)),
    "broken-json-line": (
        jsonl(json.dumps(ROW), "", '{"clean": "a",'),
        FileFormatError,
        ("mine.jsonl, line 3: not JSON", "each line must be one JSON object"),
    ),
    "json-that-is-no-object": (
        jsonl("[1, 2]"),
        FileFormatError,
        ("line 1: a list, not an object",),
    ),
    "json-with-a-key-twice": (
        jsonl('{"clean": "a", "clean": "z", "corrupt": "b", "answer": "c", "wrong_answer": "d"}'),
        FileFormatError,
        ("line 1: not a row of pairs: the key 'clean' occurs twice",),
    ),
    "json-nested-too-deep": (jsonl("[" * 100_000), FileFormatError, ("line 1: not a row of",)),
    "json-number-of-5000-digits": (
        jsonl(f'{{"clean": "a", "corrupt": "b", "correct_idx": {"9" * 5000}}}'),
        FileFormatError,
        ("line 1: not a row of pairs",),
    ),
    "truncated-parquet": (
        truncated_parquet,
        FileFormatError,
        ("cannot be read as parquet", "write it again"),
    ),
    # Columns
    "wrong-columns": (
        table({"question": "a", "clean": "b"}),
        DataError,
        (
            "no column 'corrupt' or 'corrupted'; no column 'answer' or 'correct_idx'",
            "It has the columns question, clean; rename them, or in Python give read_pairs(",
        ),
    ),
    "ambiguous-columns": (
        table(ROW | {"corrupted": "x"}),
        DataError,
        ("more than one column for corrupt ('corrupt' and 'corrupted')",),
    ),
    "a-column-twice": (
        lambda place: read_pairs(pd.DataFrame([[1] * 5], columns=[*ROW, "clean"])),
        DataError,
        ("more than one column for clean ('clean')",),
    ),
    "mapping-to-a-missing-column": (
        table(ROW, columns={"clean": "question"}),
        ConfigError,
        ("the frame has no column 'question'; it has clean, corrupt",),
    ),
    "mapping-of-an-unknown-name": (
        table(ROW, columns={"prompt": "clean"}),
        ConfigError,
        ("unknown name 'prompt'; choose one of clean, corrupt, corrupted, answer",),
    ),
    "a-dictionary-of-splits": (
        lambda place: read_pairs(datasets.DatasetDict(train=datasets.Dataset.from_list([ROW]))),
        ConfigError,
        (
            "read_pairs(source=...): expected a path",
            "got a DatasetDict",
        ),
    ),
    "no-table-at-all": (
        lambda place: read_pairs(5),
        ConfigError,
        ("read_pairs(source=...): expected a path", "got 5"),
    ),
    # Cells
    "empty-strings": (
        csv("a,b, c, d", ",b, c, d", "a,  , c, d"),
        DataError,
        ("'clean' is empty in row 1", "'corrupt' is empty in row 2", "rows are counted from 0"),
    ),
    "nan-cells": (
        table(ROW, ROW | {"answer": float("nan")}, ROW | {"answer": None}),
        DataError,
        ("'answer' is empty in rows 1, 2",),
    ),
    "many-bad-cells": (
        table(*[ROW | {"clean": ""}] * 14),
        DataError,
        ("in rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 4 more",),
    ),
    "numbers-for-text": (
        table(ROW | {"answer": 45}),
        DataError,
        ("'answer' is not text but int (token ids belong in columns named correct_idx and",),
    ),
    "text-for-token-ids": (
        jsonl('{"clean": "a", "corrupt": "b", "correct_idx": "Mary", "incorrect_idx": -3}'),
        DataError,
        ("'correct_idx' is not a token id", "'incorrect_idx' is not a token id (a whole number"),
    ),
    "infinite-token-id": (
        jsonl('{"clean": "a", "corrupt": "b", "correct_idx": Infinity, "incorrect_idx": true}'),
        DataError,
        ("'correct_idx' is not a token id", "'incorrect_idx' is not a token id"),
    ),
    "token-ids-beyond-numbers": (
        jsonl(f'{{"clean": "a", "corrupt": "b", "correct_idx": {10**400}, "incorrect_idx": 1}}'),
        DataError,
        ("'correct_idx' is not a token id",),
    ),
    "text-of-5000-digits-for-a-token-id": (
        jsonl(
            f'{{"clean": "a", "corrupt": "b", "correct_idx": "{"9" * 5000}", "incorrect_idx": 1}}'
        ),
        DataError,
        ("'correct_idx' is not a token id",),
    ),
    "equal-answers": (
        csv("a,b, c, c", "a,b, c, d"),
        DataError,
        ("answer and wrong answer are equal in row 0",),
    ),
    # Pairs in a model's tokens
    "unequal-lengths": (
        pairs({"corrupt": "Mary"}, {}, {"corrupt": "Mary gave"}),
        DataError,
        (
            "2 of 4 pairs of 'mine' cannot be used",
            "pair 1 ",
            "corrupt 2; make them equal",
            "pair 3 ",
        ),
    ),
    "multi-token-answers": (
        pairs({"answer": " Mary John"}),
        DataError,
        ("answer ' Mary John' is 2 tokens; it must be exactly one",),
    ),
    "answer-out-of-vocabulary": (
        pairs({"answer": 10**6, "wrong_answer": 5}),
        DataError,
        ("answer token 1000000 is outside the vocabulary, 0 to", "hold for one tokenizer only"),
    ),
    "tokens-out-of-vocabulary": (
        tokens_out_of_vocabulary,
        DataError,
        ("clean tokens of pairs [1] of 'tokens' are outside",),
    ),
    "tokens-that-are-no-whole-numbers": (
        lambda place: PairDataset.from_tokens(
            torch.tensor([[1.7, 2.0]]), torch.tensor([[1, 3]]), torch.tensor([[1, 2]])
        ),
        DataError,
        ("clean must be whole numbers (torch.long), got torch.float32",),
    ),
    "answers-that-are-truth-values": (
        lambda place: PairDataset.from_tokens(
            torch.tensor([[1, 2]]), torch.tensor([[1, 3]]), torch.tensor([[True, False]])
        ),
        DataError,
        ("answers must be whole numbers (torch.long), got torch.bool",),
    ),
    "more-tokens-than-the-model-takes": (
        too_many_tokens,
        DataError,
        ("pairs [1] of 'tokens' have up to ", "the model takes "),
    ),
    # The benchmark
    "unknown-mib-task": (
        mib("mib/winograd"),
        ConfigError,
        ("unknown task 'mib/winograd': ",),
    ),
    "unknown-task": (
        lambda place: load_task("winograd"),
        ConfigError,
        ("unknown task 'winograd'", "`dfa-tl tasks` lists"),
    ),
    "unknown-split": (
        mib("mib/ioi", split="dev"),
        ConfigError,
        ("no split 'dev': choose one of train, test",),
    ),
    "no-folder": (
        lambda place: load_task("mib/ioi", path=place.folder / "none"),
        DataError,
        ("no folder", "hf download --repo-type dataset mib-bench/ioi --local-dir FOLDER"),
    ),
    "an-empty-folder": (
        lambda place: load_task("mib/ioi", path=place.folder),
        DataError,
        ("cannot be loaded", "path must be a copy of mib-bench/ioi"),
    ),
    "broken-mib-file": (broken_mib_file, DataError, ("cannot be loaded", "path must be a copy of")),
    "a-path-for-a-generated-task": (
        lambda place: load_task("ioi", path=place.folder),
        ConfigError,
        ("only the benchmark's tasks take a path, not 'ioi'",),
    ),
    "another-schema": (
        lambda place: load_task("mib/ioi", path=MIB / "arc_easy"),
        DataError,
        ("is not a data set for mib/ioi: it lacks metadata, s2_io_flip_counterfactual and has",),
    ),
    "a-row-of-another-schema": (
        odd_mib_row,
        DataError,
        ("row 0 (from 0) is not a row of mib/ioi: ",),
    ),
    "n-too-large": (
        mib("mib/arithmetic_addition", n=6),
        DataError,
        ("6 pairs were asked for", "holds 5 (2 rows have no counterfactual or another operator)"),
    ),
    "n-below-one": (mib("mib/ioi", n=0), ConfigError, ("n=0: ask for at least one pair",)),
    # Settings of a data set
    "unknown-answer-rule": (
        lambda place: PairDataset(GOOD, answer_rule="last-token"),
        ConfigError,
        ("answer_rule=...): expected one of 'one-token', 'first-token', got 'last-token'",),
    ),
    "limit-below-one": (
        lambda place: PairDataset(GOOD, limit=0),
        ConfigError,
        ("limit=0: ask for at least one",),
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", CASES)
def test_refused(case, tmp_path, tmp_path_factory, toy_small, monkeypatch):
    monkeypatch.setattr(
        datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets"
    )
    act, error, messages = CASES[case]
    with pytest.raises(error) as caught:
        act(Place(tmp_path, toy_small))
    assert type(caught.value) is error
    for message in messages:
        assert message in str(caught.value)
    # Nothing is written beside the case's own file.
    assert {path.name for path in tmp_path.iterdir()} <= {
        "mine.csv",
        "mine.jsonl",
        "mine.parquet",
        "mine.xlsx",
        "train.jsonl",
    }
