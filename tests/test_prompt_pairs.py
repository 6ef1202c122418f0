"""Single pairs: what they may be made of, pairs by their number, tokens that a model lacks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from dfa_tl import PairDataset, PromptPair, load_model, load_task, read_pairs, report_pairs
from dfa_tl.errors import ConfigError, DataError
from tiny_models import VOCAB, tiny_model

GOOD = PromptPair("w3 w4", "w5 w4", 6, 7)

# Token ids of any integer type


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "five",
    [
        5,
        np.int64(5),
        np.uint8(5),
        np.array(5),
        torch.tensor(5),
        torch.tensor(5, dtype=torch.int16),
        torch.tensor(5, dtype=torch.uint8),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_an_id_of_any_integer_type_is_an_id(five):
    pair = PromptPair("a", "b", five, torch.tensor(6))
    assert pair == PromptPair("a", "b", 5, 6)
    assert hash(pair) == hash(PromptPair("a", "b", 5, 6))
    assert type(pair.answer) is type(pair.wrong_answer) is int
    (row,) = read_pairs(
        pd.DataFrame(
            {"clean": ["a"], "corrupt": ["b"], "correct_idx": [five], "incorrect_idx": 6},
            dtype=object,
        )
    ).pairs
    assert row == pair
    batch = [["a"], ["b"], [[five, np.int32(6)]]]
    assert PairDataset.from_eap_ig([batch]).pairs == (pair,)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("clean", None, "clean must be text, not NoneType"),
        ("clean", 3.5, "clean must be text, not float"),
        ("clean", b"w3 w4", "clean must be text, not bytes"),
        ("corrupt", ["w3", "w4"], "corrupt must be text, not list"),
        ("corrupt", "w3 \ud83d", "corrupt is not valid Unicode .its character 3 is half of a"),
        ("answer", "\udc00", "answer is not valid Unicode"),
        ("answer", None, "answer must be text or a token id .a whole number., not NoneType"),
        ("answer", 5.0, "answer must be text or a token id .a whole number., not float"),
        ("answer", float("nan"), "answer must be text or a token id"),
        ("wrong_answer", True, "wrong_answer must be text or a token id .*, not bool"),
        ("wrong_answer", np.True_, "wrong_answer must be text or a token id"),
        ("wrong_answer", torch.tensor(True), "wrong_answer must be text or a token id"),
        ("wrong_answer", torch.tensor(7.0), "wrong_answer must be text or a token id"),
        ("wrong_answer", torch.tensor([7]), "wrong_answer must be text or a token id"),
        ("wrong_answer", pd.NA, "wrong_answer must be text or a token id"),
        ("as_long", "Mary", "as_long must be a tuple of texts, not str"),
        ("as_long", (None,), "as_long must be text, not NoneType"),
    ],
)
def test_what_is_neither_is_refused_with_its_field_and_pair(field, value, message):
    parts: dict[str, Any] = {"clean": "w3 w4", "corrupt": "w5 w4", "answer": 6, "wrong_answer": 7}
    with pytest.raises(DataError, match=rf"^{message}.*, in PromptPair\(.*\)$"):
        PromptPair(**parts | {field: value})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([GOOD, ("a", "b", 5, 6)], r"pair 1 is a tuple, \('a', 'b', 5, 6\): expected PromptPair"),
        ([GOOD, GOOD, None], "pair 2 is a NoneType, None: expected PromptPair"),
        ([{"clean": "a"}], "pair 0 is a dict"),
        (["a prompt"], "pair 0 is a str"),
        ("a prompt", "pairs='a prompt': expected PromptPair"),
        (GOOD, r"pairs=PromptPair\(.*: expected PromptPair\(.*\), or several of them in a list"),
        (None, "pairs=None: expected"),
    ],
)
def test_a_data_set_of_something_else(pairs, message):
    with pytest.raises(DataError, match=message):
        PairDataset(pairs)


@pytest.mark.parametrize("cell", ["half \ud83d", "\udfff"])
def test_rows_that_are_no_valid_unicode(tmp_path, cell):
    good = {"clean": "a", "corrupt": "b", "answer": "c", "wrong_answer": "d"}
    rows = [good, good | {"corrupt": cell}, good | {"answer": cell}]
    message = r"(?s)'corrupt' is not valid Unicode .* in row 1.*'answer' is not valid .* in row 2"
    with pytest.raises(DataError, match=message):
        read_pairs(pd.DataFrame(rows, dtype=object))
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))  # as escapes: the file is valid UTF-8
    with pytest.raises(DataError, match=message):
        read_pairs(file)


@pytest.mark.parametrize("token", [5.5, 5.0, None, "5", True, torch.tensor(5.0)])
def test_labels_of_a_batch_that_are_no_ids(token):
    with pytest.raises(DataError, match="batch 0 is not an EAP-IG batch"):
        PairDataset.from_eap_ig([(["a"], ["b"], [[token, 6]])])


# Tokens of any integer type


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: rows,
        lambda rows: [tuple(row) for row in rows],
        lambda rows: np.array(rows, dtype=np.int16),
        lambda rows: np.array(rows, dtype=np.uint64),
        lambda rows: [np.array(row, dtype=np.int32) for row in rows],
        lambda rows: [torch.tensor(row) for row in rows],
        lambda rows: torch.tensor(rows, dtype=torch.int32),
        lambda rows: torch.tensor(rows, dtype=torch.uint8),
        lambda rows: torch.tensor(rows).to(torch.uint16),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_tokens_of_any_integer_type(make):
    clean, corrupt, answers = [[3, 4, 5], [3, 4, 0]], [[6, 4, 5], [7, 4, 0]], [[8, 9], [9, 8]]
    data = PairDataset.from_tokens(make(clean), make(corrupt), make(answers), make([[3, 2]])[0])
    tokens = data.tokens
    assert tokens is not None
    found = (tokens.clean, tokens.corrupt, tokens.answers, tokens.lengths)
    assert [each.tolist() for each in found] == [clean, corrupt, answers, [3, 2]]
    assert {each.dtype for each in found} == {torch.int64}
    assert len(PairDataset.from_tokens(make(clean), make(corrupt), make(answers))) == 2


@pytest.mark.parametrize(
    ("clean", "message"),
    [
        ([[3.0, 4.0]], r"clean=.*expected .* a list of a list of int"),
        (np.array([[3, 4]], dtype=bool), "clean must be whole numbers .torch.long., got bool"),
        (torch.tensor([[3, 4]]).bfloat16(), "clean must be whole numbers .*, got torch.bfloat16"),
        ([["3", "4"]], r"clean=.*expected .* a list of a list of int"),
        ([[3, None]], r"clean=.*expected .* a list of a list of int"),
        ([[3, 4], [5]], "clean cannot be read as whole numbers .*padded on the right"),
        (np.array([[2**63, 4]], dtype=np.uint64), "clean has the number 9223372036854775808"),
        (5, "clean=.*expected a Tensor .* got 5"),
        ([], "holds no pairs"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_tokens_of_another_type(clean, message):
    with pytest.raises((ConfigError, DataError), match=message):
        PairDataset.from_tokens(clean, clean, [[1, 2]])


# Pairs by their number


@pytest.mark.parametrize("number", [0, 3, -1, -4, np.int64(2), np.uint8(1), torch.tensor(2)])
def test_a_pair_by_its_number(number, llama):
    data = load_task("ioi", n=4)
    assert data[number] == data.pairs[int(number)]
    tokens = llama.data.tokens
    assert tokens is not None
    row = int(number) % 4
    clean, corrupt, answers = llama.data[number]
    length = int(tokens.lengths[row])
    assert clean.tolist() == tokens.clean[row, :length].tolist()
    assert corrupt.tolist() == tokens.corrupt[row, :length].tolist()
    assert answers.tolist() == tokens.answers[row].tolist()
    assert (len(clean), len(corrupt)) == (length, length)


def test_pairs_in_a_loop(llama):
    data = load_task("ioi", n=4)
    assert list(data) == list(data.pairs)
    assert [len(pair.clean) for pair in llama.data] == llama.data.tokens.lengths.tolist()
    assert data[1] in data
    first = PairDataset(data.pairs, limit=2)
    assert list(first) == [first[0], first[-1]] == list(data.pairs[:2])
    assert list(data[:0]) == []


@pytest.mark.parametrize("number", [4, -5, np.int64(4), 10**30])
def test_no_pair_of_that_number(number, llama):
    for data in (load_task("ioi", n=4), PairDataset(load_task("ioi", n=9).pairs, limit=4)):
        with pytest.raises(IndexError, match=r"no pair -?\d+: '.*' has 4 pairs"):
            data[number]
    with pytest.raises(IndexError, match="has 4 pairs"):
        llama.data[number]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("number", ["clean", 1.0, None, True, [0, 1], torch.tensor([1])])
def test_what_is_no_number_of_a_pair(number):
    with pytest.raises(ConfigError, match=r"give the index of a pair, data\[0\], or a slice"):
        load_task("ioi", n=4)[number]


# Tokens that the model has no embedding for


@pytest.fixture(scope="module")
def too_few_rows(tmp_path_factory):
    """A model of `VOCAB` tokens whose tokenizer has ten more."""
    folder = tmp_path_factory.mktemp("rows")
    tiny_model("llama-gqa").save_pretrained(folder)
    core = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB + 10)}, unk_token="w0"))
    core.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="w1").save_pretrained(folder)
    return load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clean": "w3 w60"}, r"the clean prompt has tokens \(60\) beyond the model's embedding"),
        ({"corrupt": "w69 w61"}, r"the corrupt prompt has tokens \(61, 69\) beyond"),
        ({"answer": "w65"}, r"answer 'w65' has tokens \(65\) beyond .* which has 60 rows"),
        ({"wrong_answer": "w60"}, r"answer 'w60' has tokens \(60\) beyond"),
        ({"wrong_answer": 60}, "answer token 60 is outside the vocabulary, 0 to 59"),
        ({"answer": -1}, "answer token -1 is outside the vocabulary"),
    ],
)
@pytest.mark.parametrize("rule", ["one-token", "first-token"])
def test_tokens_beyond_the_embedding(too_few_rows, change, message, rule):
    bad = PromptPair(**vars(GOOD) | change)
    pairs = (GOOD, GOOD, bad)
    with pytest.raises(DataError, match=rf"(?s)1 of 3 pairs .*pair 2 .*{message}"):
        PairDataset(pairs, answer_rule=rule).tokenize(too_few_rows)
    dropping = PairDataset(pairs, on_invalid="drop", answer_rule=rule)
    assert len(dropping.tokenize(too_few_rows)) == 2
    assert [each.number for each in report_pairs(too_few_rows, dropping).dropped] == [2]


def test_the_last_row_of_the_embedding_is_a_token(too_few_rows):
    pair = PromptPair("w59 w4", "w5 w59", "w59", 58)
    assert PairDataset((pair,)).tokenize(too_few_rows).answers.tolist() == [[59, 58]]
