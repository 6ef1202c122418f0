"""What every generated task must do; one that is added is checked without a line of test.

Real tokenizers are read from the folders in the folder that DFA_TL_MODELS names. Without it, the
pairs are checked with the bundled tokenizer and with one that splits nothing but whole words.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from dfa_tl import load_task
from dfa_tl.errors import DataError
from dfa_tl.tasks import MIB_TASKS, TASKS, TOY_TASKS
from dfa_tl.tasks.generators.arithmetic import WORDS as NUMBER_WORDS
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.registry import WORDS, family_of, relations
from dfa_tl.tasks.task import SPLITS

SIZES = {"train": 500, "validation": 100, "test": 100}
FOLDER = os.environ.get("DFA_TL_MODELS")
FILES = sorted(Path(FOLDER).glob("*/tokenizer.json")) if FOLDER else []
# What is asked is one fact, which belongs to one split whatever stands before it.
OF_FACTS = ("geography", "people", "word-relations", "inflection", "arithmetic", "comparison")

ENGLISH = [name for name, task in TASKS.items() if not task.is_toy]

every_task = pytest.mark.parametrize("name", TASKS)
every_english_task = pytest.mark.parametrize("name", ENGLISH)
every_toy_task = pytest.mark.parametrize("name", TOY_TASKS)


@cache
def drawn(name: str, split: str) -> PairDataset:
    return load_task(name, split=split, n=SIZES[split])


def prompts(name: str, split: str) -> set[str]:
    return {text for pair in drawn(name, split).pairs for text in (pair.clean, pair.corrupt)}


def words(text: str) -> list[str]:
    return re.findall(r"[\w-]+|[()\[\]{}<>]", text)


class Words:
    """A tokenizer seen as `PairDataset.tokenize` sees a model; nothing is prepended."""

    unknown_token = None
    vocabulary_size = 1_000_000
    context_length = 1000

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def prompt_tokens(self, prompt: str, prepend_bos: bool | None = None) -> torch.Tensor:
        return self.answer_tokens(prompt)

    def answer_tokens(self, answer: str) -> torch.Tensor:
        return torch.tensor(self.tokenizer.encode(answer, add_special_tokens=False).ids)


@pytest.fixture(scope="module")
def whole_words() -> Words:
    """A tokenizer that knows each word and each mark of the English tasks, and no others."""
    splitter = pre_tokenizers.Whitespace()
    pairs = [pair for name in ENGLISH for pair in drawn(name, "test").pairs]
    texts = [text for pair in pairs for text in (pair.clean, pair.corrupt, *answers(pair))]
    known = {word for text in texts for word, _ in splitter.pre_tokenize_str(text)}
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(sorted(known))}))
    tokenizer.pre_tokenizer = splitter
    return Words(tokenizer)


def answers(pair) -> tuple[str, str]:
    return pair.answer, pair.wrong_answer


def test_at_least_24_english_tasks_in_10_families():
    assert len(ENGLISH) >= 24
    assert len({TASKS[name].family for name in ENGLISH}) >= 10


@every_task
def test_record_is_complete(name):
    task = TASKS[name]
    assert task.name == name
    assert task.family
    assert len(task.description) > 10
    assert re.search(r"\b(19|20)\d\d\b", task.reference)  # a year
    for other in task.related:
        assert TASKS[other].family == task.family
        assert name in TASKS[other].related


@pytest.mark.slow
@every_task
def test_pairs_are_enough_and_seeded(name):
    for split, n in SIZES.items():
        pairs = drawn(name, split).pairs
        assert len(set(pairs)) == n
        assert pairs[:20] == load_task(name, split=split, n=20).pairs
        assert pairs[:20] != load_task(name, split=split, n=20, seed=1).pairs


@pytest.mark.slow
@every_task
def test_no_prompt_is_in_two_splits(name):
    train, validation, test = (prompts(name, split) for split in SPLITS)
    assert not train & validation
    assert not train & test
    assert not validation & test


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ENGLISH if TASKS[name].family in OF_FACTS])
def test_no_question_about_a_fact_is_in_two_splits(name):
    before = ". " if TASKS[name].changed_words else ", and "
    train, validation, test = (
        {prompt.split(before)[-1] for prompt in prompts(name, split)} for split in SPLITS
    )
    assert not train & validation
    assert not train & test
    assert not validation & test


@pytest.mark.slow
@every_task
def test_clean_and_corrupt_differ_where_the_task_says(name):
    n_changed = TASKS[name].changed_words
    for pair in drawn(name, "train").pairs:
        clean, corrupt = words(pair.clean), words(pair.corrupt)
        if not n_changed:
            assert clean != corrupt
            assert sorted([*clean, pair.answer[1:]]) == sorted([*corrupt, pair.wrong_answer[1:]])
        else:
            assert len(clean) == len(corrupt)
            assert sum(a != b for a, b in zip(clean, corrupt, strict=True)) in n_changed


@pytest.mark.slow
@every_task
def test_answers_are_the_other_way_round_for_the_corrupt_prompt(name):
    """No prompt has two answers: what is right for one pair is not wrong for another."""
    right: dict[tuple[str, frozenset[str]], str] = {}
    for split in SPLITS:
        for pair in drawn(name, split).pairs:
            both = frozenset(answers(pair))
            assert len(both) == 2
            for prompt, answer in ((pair.clean, pair.answer), (pair.corrupt, pair.wrong_answer)):
                assert right.setdefault((prompt, both), answer) == answer


@every_english_task
def test_text_is_natural(name):
    for split in SPLITS:
        for pair in drawn(name, split).pairs:
            assert all(re.fullmatch(r" \S+", answer) for answer in answers(pair))
            for text in (pair.clean, pair.corrupt):
                assert text == text.strip()
                if not TASKS[name].is_notation:
                    assert "  " not in text
                    assert not re.search(r" [.,:;?!)]", text)
                    assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiou]", text)


@pytest.mark.slow
@every_english_task
def test_pairs_fit_a_tokenizer_of_words(whole_words, name):
    assert drawn(name, "test").sorted_for(whole_words).dropped == []


@pytest.mark.skipif(not FILES, reason="DFA_TL_MODELS names no folder with tokenizers")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
@every_english_task
def test_pairs_fit_real_tokenizers(file, name):
    tokenizer = Words(Tokenizer.from_file(str(file)))
    for split in SPLITS:
        assert drawn(name, split)[:100].sorted_for(tokenizer).dropped == []


@every_toy_task
def test_pairs_fit_the_bundled_tokenizer(toy_small, name):
    data = load_task(name, n=100)
    tokens = data.tokenize(toy_small)  # refuses prompts of unequal length
    assert len(tokens) == 100
    assert tokens.clean.shape == tokens.corrupt.shape
    assert (tokens.answers[:, 0] != tokens.answers[:, 1]).all()
    found = {w for pair in data.pairs for w in f"{pair.clean} {pair.corrupt}".split()}
    assert found <= TASKS[name].words <= WORDS


NUMBER = {word: number for number, word in enumerate(NUMBER_WORDS)}


@pytest.mark.parametrize(
    ("name", "result"),
    [("addition_english", lambda a, b: a + b), ("subtraction_english", lambda a, b: abs(a - b))],
)
def test_arithmetic_is_right(name, result):
    for pair in drawn(name, "train").pairs:
        for prompt, answer in ((pair.clean, pair.answer), (pair.corrupt, pair.wrong_answer)):
            a, b = [NUMBER[word] for word in words(prompt.split(". ")[-1]) if word in NUMBER]
            assert NUMBER[answer[1:]] == result(a, b)


def test_years_are_compared_right():
    later = {" later", " forward"}
    for pair in drawn("greater_than_years", "train").pairs:
        first, second = map(int, re.findall(r"\d+", pair.clean.split(". ")[-1]))
        assert (pair.answer in later) == (second > first)


def test_brackets_are_balanced():
    for pair in drawn("closing_bracket", "train").pairs:
        text = (pair.clean + pair.answer).replace(" ", "")
        while text:
            shorter = re.sub(r"\(\)|\[\]|\{\}|<>", "", text)
            assert shorter != text
            text = shorter


def test_pairs_that_do_not_fit_are_left_out_by_name(toy_small):
    with pytest.raises(DataError, match=r"cannot be used(?s:.*)does not suit"):
        load_task("country_capital", n=5).tokenize(toy_small)


def test_families():
    families: dict[str, list[str]] = {}
    for name in TOY_TASKS:
        families.setdefault(family_of(name), []).append(name)
    assert list(families.values()) == [
        ["ioi"],
        ["mcqa", "arc_easy", "arc_challenge"],
        ["arithmetic_addition", "arithmetic_subtraction"],
    ]
    for name in MIB_TASKS:
        assert family_of(name) == family_of(name.removeprefix("mib/"))
    assert family_of("./my_task") == "./my_task"


def test_relations_are_those_of_the_paper():
    sums, choices = "arithmetic_addition", "arc_easy"
    found = relations()
    assert len(found) == 8
    assert found[sums] == ("arithmetic_subtraction",)
    assert found[f"mib/{choices}"] == ("mib/arc_challenge",)


def test_an_english_task_has_the_family_of_its_toy():
    assert family_of("ioi_english") == family_of("mib/ioi") == "ioi"
