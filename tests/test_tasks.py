from __future__ import annotations

import logging

import pytest
import torch

from dfa_tl import PairDataset, PromptPair, load_task
from dfa_tl.errors import ConfigError, DataError
from dfa_tl.tasks.generators.toy_vocabulary import HABITAT, WEATHER
from dfa_tl.tasks.metrics import METRICS, kl
from dfa_tl.tasks.task import Task, generate_pairs, split_of

IOI = "When Mary and John went to the store , {} gave a drink to"
GOOD = PromptPair(IOI.format("John"), IOI.format("Mary"), " Mary", " John")


def test_a_split_is_the_same_on_every_machine():
    assert split_of("add [1, 2]") == "train"
    assert [split_of(f"problem {i}") for i in range(300)].count("test") == 27


def test_ioi_flips_the_second_name():
    for pair in load_task("ioi", n=30).pairs:
        clean, corrupt = pair.clean.split(), pair.corrupt.split()
        changed = [i for i in range(len(clean)) if clean[i] != corrupt[i]]
        assert len(changed) == 1
        assert clean[changed[0]] == pair.wrong_answer.strip()
        assert corrupt[changed[0]] == pair.answer.strip()
        assert {pair.answer.strip(), pair.wrong_answer.strip()} <= set(clean)


def solve(prompt: str) -> str:
    """The letter of the right choice, worked out from the words of a question."""
    question, listed = prompt.split("?")
    words = question.split()
    letters = dict(zip(listed.split()[1:-2:2], listed.split()[0:-2:2], strict=True))
    if "color" in words:
        return letters[words[3]]
    if words[0] == "Where":
        return letters[HABITAT[words[3]]]
    if "home" in words:
        return letters[WEATHER[HABITAT[words[-1]]]]
    return letters[WEATHER[words[-1]]]


@pytest.mark.parametrize("task", ["mcqa", "arc_easy", "arc_challenge"])
def test_choices_keep_the_question_and_change_the_letters(task):
    for pair in load_task(task, n=50).pairs:
        assert solve(pair.clean) == pair.answer.strip()
        assert solve(pair.corrupt) == pair.wrong_answer.strip()
        clean, corrupt = pair.clean.split(), pair.corrupt.split()
        changed = [i for i in range(len(clean)) if clean[i] != corrupt[i]]
        assert len(changed) == 4
        assert not {clean[i] for i in changed} & {corrupt[i] for i in changed}


@pytest.mark.parametrize("task", ["arithmetic_addition", "arithmetic_subtraction"])
def test_arithmetic_is_right(task):
    for pair in load_task(task, n=50).pairs:
        for prompt, answer in ((pair.clean, pair.answer), (pair.corrupt, pair.wrong_answer)):
            assert eval(prompt.removesuffix("=")) == int(answer)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "winograd"}, ConfigError, "unknown task 'winograd': `dfa-tl tasks`"),
        ({"name": "ioi", "split": "dev"}, ConfigError, "unknown split 'dev'"),
        ({"name": "ioi", "n": 0}, ConfigError, "n=0: ask for at least one pair"),
    ],
)
def test_bad_task_requests(arguments, error, message):
    with pytest.raises(error, match=message):
        load_task(**arguments)


def test_a_split_that_is_too_small():
    mine = Task("mine", "mine", lambda rng, allowed: GOOD, "always the same pair", "none")
    with pytest.raises(DataError, match=r"only 1 distinct pairs were found, 2 were asked for"):
        generate_pairs(mine, 2, split="test", seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corrupt": "When Mary"}, r"clean has \d+ tokens, corrupt \d; make them equal"),
        ({"clean": "  "}, "the clean prompt is empty"),
        ({"clean": "Mary " * 64}, "65 tokens; toy-small takes 64 at most"),
        ({"answer": " Mary John"}, "answer ' Mary John' is 2 tokens; it must be exactly one"),
        ({"answer": ""}, "answer '' is 0 tokens"),
        ({"answer": " John"}, "answer and wrong answer are the same token"),
        ({"answer": " Zebediah"}, "not in the tokenizer's vocabulary"),
        ({"corrupt": IOI.format("Zebediah")}, "words that the tokenizer does not know"),
    ],
)
def test_bad_pairs_are_listed_or_dropped(toy_small, caplog, changes, message):
    bad = PromptPair(**{**GOOD.__dict__, **changes})
    with pytest.raises(DataError, match=f"(?s)1 of 2 pairs of 'mine' cannot.*pair 1.*{message}"):
        PairDataset((GOOD, bad), name="mine").tokenize(toy_small)
    with caplog.at_level(logging.WARNING):
        tokens = PairDataset((GOOD, bad), name="mine", on_invalid="drop").tokenize(toy_small)
    assert len(tokens) == 1
    assert "1 of 2 pairs of 'mine' cannot be used and were left out" in caplog.text
    with pytest.raises(DataError, match="1 of 1 pairs"):
        PairDataset((bad,), on_invalid="drop").tokenize(toy_small)


def test_answers_may_be_token_ids(toy_small):
    ids = [int(toy_small.answer_tokens(a)[0]) for a in (" Mary", " John")]
    tokens = PairDataset((PromptPair(GOOD.clean, GOOD.corrupt, *ids),)).tokenize(toy_small)
    assert tokens.answers.tolist() == [ids]


@pytest.mark.usefixtures("unchecked")
def test_data_sets_are_cut_with_slices(llama):
    data = load_task("ioi", n=10)
    assert len(data[:4]) == 4
    assert data[:4].pairs == data.pairs[:4]
    assert len(llama.data[1:3]) == 2
    assert repr(data) == "PairDataset('ioi', 10 pairs)"


@pytest.mark.usefixtures("unchecked")
def test_settings_of_a_data_set():
    with pytest.raises(
        ConfigError, match=r"on_invalid=.*expected one of 'raise', 'drop', got 'ignore'"
    ):
        PairDataset((GOOD,), on_invalid="ignore")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, k, a, n: (c[:0], k[:0], a[:0], n[:0]), "holds no pairs"),
        (lambda c, k, a, n: (c, k[:, :-1], a, n), "must both be"),
        (lambda c, k, a, n: (c, k, a[:-1], n), "answers"),
        (lambda c, k, a, n: (c, k, a, n * 0), "lengths must lie between 1"),
        (lambda c, k, a, n: (c, k, a[:, :1].expand(-1, 2), n), "the same token in pairs"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_tokens(llama, change, message):
    clean, corrupt, answers, lengths = change(*llama.pairs)
    with pytest.raises(DataError, match=message):
        PairDataset.from_tokens(clean, corrupt, answers, lengths)


def test_tokens_without_lengths_are_not_padded():
    tokens = PairDataset.from_tokens(
        torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.long),
        torch.tensor([[1, 2], [3, 4]]),
    ).tokens  # fmt: skip
    assert tokens.lengths.tolist() == [3, 3]


def test_batches_put_equal_lengths_together(llama):
    tokens = llama.data.tokenize(llama.model)
    batches = [tokens.select(rows, "cpu") for rows in tokens.row_batches(2)]
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == [0, 1, 2, 3]
    assert batches[0].clean.shape[1] < batches[1].clean.shape[1]
    assert all((batch.mask.sum(1) == batch.last + 1).all() for batch in batches)


def test_metrics_by_hand(llama):
    tokens = llama.data.tokenize(llama.model)
    batch = tokens.select([0], "cpu")
    right, wrong = batch.answers[0].tolist()
    logits = torch.zeros(1, 60)
    logits[0, right], logits[0, wrong] = 2.0, 1.0
    values = {
        name: float(metric(logits, batch.with_clean_logits(logits)))
        for name, metric in METRICS.items()
    }
    p = logits.softmax(-1)[0]
    assert values["logit_diff"] == pytest.approx(1)
    assert values["prob_diff"] == pytest.approx(float(p[right] - p[wrong]))
    assert values["log_prob"] == pytest.approx(float(p[right].log()))
    assert values["kl"] == pytest.approx(0, abs=1e-6)
    assert values["accuracy"] == 1
    with pytest.raises(ConfigError, match="clean logits"):
        kl(logits, batch)
