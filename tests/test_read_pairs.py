"""Your own pairs, from files, tables and EAP-IG's dataloaders."""

from __future__ import annotations

import json

import datasets
import pandas as pd
import pytest
import torch

from dfa_tl import PairDataset, PromptPair, load_task, read_pairs
from dfa_tl.errors import ConfigError, DataError

ROWS = [
    ('A, "quoted"\nprompt', 'B, "quoted"\nprompt', " Mary", " NaN"),
    ("  spaces kept ", "other", "None", "12"),
    ("ünï", "cödé\u2028line", " x", "x"),
]
PAIRS = tuple(PromptPair(*row) for row in ROWS)
NAMES = ("clean", "corrupt", "answer", "wrong_answer")
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
FRAME = pd.DataFrame(RECORDS)


def write_csv(path):
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in (NAMES, *ROWS)]
    path.write_text("\r\n".join(",".join(row) for row in quoted), encoding="utf-8", newline="")


def write_jsonl(path):
    lines = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("suffix", "write"),
    [("csv", write_csv), ("jsonl", write_jsonl), ("parquet", FRAME.to_parquet)],
)
def test_files(tmp_path, suffix, write):
    path = tmp_path / f"mine.{suffix}"
    write(path)
    for source in (path, str(path)):
        data = read_pairs(source)
        assert data.pairs == PAIRS
        assert data.name == "mine"
    assert read_pairs(path, name="other").name == "other"


def test_tables():
    assert read_pairs(FRAME).pairs == PAIRS
    assert read_pairs(FRAME).name == "pairs"
    assert read_pairs(datasets.Dataset.from_list(RECORDS)).pairs == PAIRS


def test_columns_by_other_names():
    renamed = [{"question": r["clean"], "cf": r["corrupt"], "corrupted": "no", "right": r["answer"],
                "wrong_answer": r["wrong_answer"]} for r in RECORDS]  # fmt: skip
    columns = {"clean": "question", "corrupt": "cf", "answer": "right"}
    table = datasets.Dataset.from_list(renamed)
    assert read_pairs(table, columns=columns).pairs == PAIRS


def test_eap_ig_files(tmp_path, toy_small):
    vocabulary = toy_small.tl.tokenizer.get_vocab()
    texts = load_task("ioi", n=3).pairs
    ids = [[vocabulary[a.strip()] for a in (p.answer, p.wrong_answer)] for p in texts]
    lines = [",clean,corrupted,corrupted_hard,correct_idx,incorrect_idx"]
    for i, (pair, (right, wrong)) in enumerate(zip(texts, ids, strict=True)):
        lines.append(f'{i},"{pair.clean}","{pair.corrupt}","x",{right},{wrong}')
    (tmp_path / "ioi.csv").write_text("\n".join(lines))
    data = read_pairs(tmp_path / "ioi.csv")
    assert [[p.answer, p.wrong_answer] for p in data.pairs] == ids
    assert data.tokenize(toy_small).answers.tolist() == ids
    hard = read_pairs(tmp_path / "ioi.csv", columns={"corrupted": "corrupted_hard"})
    assert {p.corrupt for p in hard.pairs} == {"x"}


def test_token_ids_of_a_frame_may_be_floats():
    frame = pd.DataFrame({"clean": ["a"], "corrupt": ["b"], "correct_idx": [5.0]})
    assert read_pairs(frame.assign(incorrect_idx="7")).pairs == (PromptPair("a", "b", 5, 7),)


def test_pairs_may_be_dropped_later(toy_small):
    good = load_task("ioi", n=1).pairs[0]
    frame = pd.DataFrame([vars(good), vars(good) | {"answer": " Zebediah"}])
    with pytest.raises(DataError, match="1 of 2 pairs of 'pairs' cannot be used"):
        read_pairs(frame).tokenize(toy_small)
    assert len(read_pairs(frame, on_invalid="drop").tokenize(toy_small)) == 1


def test_to_eap_ig(toy_small):
    data = load_task("ioi", n=5)
    bad = PromptPair(data.pairs[0].clean, "Mary", " Mary", " John")
    mixed = PairDataset((bad, *data.pairs), on_invalid="drop")
    batches = mixed.to_eap_ig(toy_small, batch_size=2)
    assert [len(clean) for clean, _, _ in batches] == [2, 2, 1]
    vocabulary = toy_small.tl.tokenizer.get_vocab()
    seen = [
        (clean, corrupted, label)
        for batch in batches
        for clean, corrupted, label in zip(*batch[:2], batch.labels.tolist(), strict=True)
    ]
    assert seen == [
        (p.clean, p.corrupt, [vocabulary[p.answer.strip()], vocabulary[p.wrong_answer.strip()]])
        for p in data.pairs
    ]
    assert all(batch.labels.dtype == torch.int64 for batch in batches)


def test_there_and_back_is_the_same(toy_small):
    data = load_task("mcqa", n=5)
    back = PairDataset.from_eap_ig(data.to_eap_ig(toy_small, 2), name="mcqa")
    first, second = data.tokenize(toy_small), back.tokenize(toy_small)
    for field in ("clean", "corrupt", "lengths", "answers"):
        assert torch.equal(getattr(first, field), getattr(second, field))


@pytest.mark.parametrize(
    "labels", [torch.tensor([[1, 2], [3, 4]]), ([1, 2], [3, 4]), [(1, 2), (3, 4)]]
)
def test_labels_of_any_collate_function(labels):
    loader = torch.utils.data.DataLoader(
        [0, 1], batch_size=2, collate_fn=lambda _: (["a", "b"], ["c", "d"], labels)
    )
    data = PairDataset.from_eap_ig(loader)
    assert data.pairs == (PromptPair("a", "c", 1, 2), PromptPair("b", "d", 3, 4))


@pytest.mark.parametrize(
    "batch",
    [
        (["a"], ["b"]),
        ("a", "b", [[1, 2]]),
        (["a"], ["b", "c"], [[1, 2]]),
        (["a"], [5], [[1, 2]]),
        (["a"], ["b"], [[1, 2, 3]]),
        (["a"], ["b"], [5]),
        (["a"], ["b"], [[[1], [2, 3]]]),
    ],
)
def test_other_batches_are_refused(batch):
    with pytest.raises(
        DataError, match=r"batch 1 is not an EAP-IG batch .* expected clean prompts"
    ):
        PairDataset.from_eap_ig([(["a"], ["b"], [[1, 2]]), batch])


def test_tokens_have_no_text_for_eap_ig(llama, toy_small):
    with pytest.raises(ConfigError, match="holds tokens; EAP-IG needs the prompts as text"):
        llama.data.to_eap_ig(llama.model)
    with pytest.raises(ConfigError, match="batch_size=0: must be a whole number"):
        load_task("ioi", n=1).to_eap_ig(toy_small, 0)
