"""`report_pairs`, against plain Hugging Face runs and by the eye."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from dfa_tl import (
    AlignmentConfig,
    PairDataset,
    PromptPair,
    align,
    attribute,
    load_task,
    report_pairs,
)
from dfa_tl.attribution.registry import METHODS, Method
from dfa_tl.errors import DataError
from dfa_tl.evaluation.task_check import PairRow, PairsReport
from dfa_tl.models.chance_accuracy import ChanceAccuracyWarning
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.models.node_model import NodeModel

SHORT = PromptPair("Mary gave", "Mary", " Mary", " John")


@pytest.fixture(scope="module")
def report(toy_small):
    data = load_task("ioi", n=12, split="test")
    return report_pairs(toy_small, replace(data, pairs=(SHORT, *data.pairs)), batch_size=5)


def test_the_numbers_are_those_of_plain_runs(report, toy_small):
    hf = AutoModelForCausalLM.from_pretrained(BUNDLED_FOLDER / "toy-small").eval()
    ids = toy_small.tl.tokenizer.get_vocab()
    pairs = load_task("ioi", n=12, split="test").pairs
    for row, pair in zip(report.rows, pairs, strict=True):
        for seen, prompt in ((row.m_clean, pair.clean), (row.m_corrupt, pair.corrupt)):
            tokens = [ids["<bos>"], *(ids[word] for word in prompt.split())]
            with torch.no_grad():
                logits = hf(torch.tensor([tokens])).logits[0, -1]
            difference = logits[ids[pair.answer.strip()]] - logits[ids[pair.wrong_answer.strip()]]
            assert seen == pytest.approx(float(difference), abs=1e-4)
        assert row.clean == ("<bos>", *pair.clean.split())
        assert row.corrupt == ("<bos>", *pair.corrupt.split())
        words = list(zip(row.clean, row.corrupt, strict=True))
        assert row.differs == tuple(i for i, (a, b) in enumerate(words) if a != b)
        assert len(row.differs) == 1
    assert report.m_clean == pytest.approx(np.mean([row.m_clean for row in report.rows]))
    assert report.m_corrupt == pytest.approx(np.mean([row.m_corrupt for row in report.rows]))
    assert report.accuracy == np.mean([row.m_clean > 0 for row in report.rows])
    assert report.warning is None


def test_the_frame_has_every_pair_in_order(report):
    frame = report.frame()
    assert frame["pair"].tolist() == list(range(13))
    assert frame["dropped"][0] == "clean has 3 tokens, corrupt 2; make them equal"
    assert frame["dropped"][1:].isna().all()
    assert frame["clean"][0] == "Mary gave"
    pairs = load_task("ioi", n=12, split="test").pairs
    assert frame["clean"][1:].tolist() == [pair.clean for pair in pairs]
    assert frame["m_clean"][1:].tolist() == [row.m_clean for row in report.rows]
    assert frame["n_tokens"][1:].tolist() == [len(row.clean) for row in report.rows]
    assert frame["right"][1:].all()


def test_the_text_puts_tokens_side_by_side(report):
    lines = str(report).splitlines()
    assert re.fullmatch(
        r"ioi on toy-small: 12 pairs, 1 cannot be used, m\(clean\) = [\d.]+, "
        r"m\(corrupt\) = -[\d.]+, accuracy 1\.00 \(guessing: 0\.50\)",
        lines[0],
    )
    first = report.rows[0]
    assert lines[1].startswith(f"pair 1: {first.answer!r} not {first.wrong_answer!r}, m ")
    for line, which, name in (
        (lines[2], "clean", first.wrong_answer),
        (lines[3], "corrupt", first.answer),
    ):
        assert line.startswith(f"  {which:8}<bos>|")
        assert line.count("[") == 1
        assert f"|[{name}]|" in line
    assert lines[-2] == "and 2 more pairs, see frame()"
    assert lines[-1].startswith("cannot be used: pair 0 ('Mary gave' / 'Mary'): clean has 3 tokens")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.closed: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.opened.append(tag)

    def handle_endtag(self, tag):
        self.closed.append(tag)


def test_the_notebook_view_is_escaped(report):
    row = replace(report.rows[0], clean=("<script>", "a\nb"), corrupt=("&", "a\nb"), differs=(0,))
    bad = replace(report.dropped[0], pair=replace(SHORT, clean="<img src=x>"))
    text = PairsReport("<task>", "<model>", (row,), (bad,), ("<i>",))._repr_html_()
    assert "<mark>&lt;script&gt;</mark>|a\\nb" in text
    assert "<mark>&amp;</mark>" in text
    assert "&lt;task&gt; on &lt;model&gt;" in text
    assert "&lt;img src=x&gt;" in text
    tags = Tags()
    tags.feed(text)
    assert set(tags.opened) == {"div", "b", "table", "tr", "td", "mark"}
    assert sorted(tags.opened) == sorted(tags.closed)


def row(m_clean: float, m_corrupt: float, number: int = 0) -> PairRow:
    return PairRow(number, ("a",), ("b",), "x", "y", (0,), m_clean, m_corrupt)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no pair can be used with this model's tokenizer"),
        ([row(1, -1)] * 6 + [row(-1, -9)] * 4, "big cannot do this task: accuracy 0.60, where"),
        (
            [row(1, 2)] * 9,
            "support the answer at least as much as the clean ones: m(clean) = 1, m(corrupt)",
        ),
        ([row(1, 0), row(float("nan"), 0, 7)], "the logits are not finite in pairs [7]"),
    ],
)
def test_warnings(rows, message):
    report = PairsReport("task", "big", tuple(rows))
    assert message in report.warning
    assert f"WARNING: {report.warning}" in str(report)
    assert len(repr(report)) < 120
    assert "<b>Warning:</b>" in report._repr_html_()


def test_seven_of_ten_is_no_warning():
    rows = (row(1, -1),) * 7 + (row(-1, -9),) * 3
    assert PairsReport("task", "big", rows).warning is None


def test_a_swapped_task_is_warned_of(toy_small):
    swapped = [
        PromptPair(p.corrupt, p.clean, p.answer, p.wrong_answer)
        for p in load_task("ioi", n=8).pairs
    ]
    report = report_pairs(toy_small, PairDataset(tuple(swapped), name="swapped"))
    assert report.accuracy == 0
    assert report.warning.startswith("toy-small cannot do this task: accuracy 0.00")


def test_nothing_usable_is_reported_not_raised(toy_small):
    report = report_pairs(toy_small, PairDataset((SHORT,)))
    assert "no pair can be used with this model's tokenizer" in report.warning
    assert len(report.frame()) == 1
    assert report_pairs(toy_small, PairDataset(())).frame().empty


def test_tokens_are_shown_as_text(llama):
    report = report_pairs(llama.model, llama.data)
    clean, corrupt, answers, lengths = llama.pairs
    texts = llama.model.tl.tokenizer.convert_ids_to_tokens
    for i, each in enumerate(report.rows):
        assert list(each.clean) == texts(clean[i, : lengths[i]].tolist())
        differs = (clean[i, : lengths[i]] != corrupt[i, : lengths[i]]).nonzero()[:, 0].tolist()
        assert list(each.differs) == differs
        assert [each.answer, each.wrong_answer] == texts(answers[i].tolist())
    assert report.frame()["clean"][0] == "".join(report.rows[0].clean)


def test_the_model_is_as_it_was(toy_small):
    toy_small.tl.train()
    try:
        report_pairs(toy_small, load_task("ioi", n=2))
        assert toy_small.tl.training
    finally:
        toy_small.tl.eval()


def wrong_pairs(llama, n: int) -> PairDataset:
    """One pair that the random model gets wrong, `n` times."""
    clean, corrupt, (right, wrong), length = (tensor[0] for tensor in llama.pairs)
    if report_pairs(llama.model, llama.data).rows[0].right:
        right, wrong = wrong, right
    answers = torch.stack([right, wrong])
    tensors = (torch.stack([tensor] * n) for tensor in (clean, corrupt, answers, length))
    return PairDataset.from_tokens(*tensors, name="wrong")


def test_a_look_at_clean_runs(llama, toy_small, caplog):
    """A verdict on enough pairs and not before, each counted once, and said once."""

    def looked(model, data, *sizes: int) -> list[str]:
        caplog.clear()
        pairs, look = data.tokenize(model), ChanceAccuracyWarning(model, data.name)
        with caplog.at_level(logging.WARNING), model.unchanged(), torch.no_grad():
            for stop in sizes:
                batch = pairs.select(range(stop), "cpu")
                with look.at(batch):
                    model.last_logits(batch.corrupt, batch.mask, batch.last)
                    model.tl(batch.clean)  # whose first position is no answer
                    for _ in range(2):
                        model.last_logits(batch.clean, batch.mask, batch.last)
        return caplog.messages

    wrong = wrong_pairs(llama, 12)
    message = (
        "may not be able to do 'wrong': it prefers the right answer in 0 % of the first {} pairs"
    )
    (said,) = looked(llama.model, wrong, 8)
    assert message.format(8) in said
    (said,) = looked(llama.model, wrong, 3, 5, 7, 10, 12)
    assert message.format(10) in said
    assert looked(llama.model, wrong, 7, 7, 7) == []
    assert looked(toy_small, load_task("ioi", n=8), 8) == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nap", "nap-ig-inputs", "nap-ig-activations", "exact"])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_attribute_and_align_warn_once(llama, caplog, method, batch_size):
    data = wrong_pairs(llama, 8)
    with caplog.at_level(logging.WARNING):
        scores = attribute(
            llama.model, data, method, ig_steps=2, batch_size=batch_size, progress=False
        )
        (said,) = caplog.messages
        assert (
            "may not be able to do 'wrong': it prefers the right answer in 0 % of the first 8"
            in said
        )
        caplog.clear()
        tasks = {"mine": data, "yours": data, "few": wrong_pairs(llama, 7)}
        config = AlignmentConfig(epochs=2, batch_size=batch_size)
        align(dict.fromkeys(tasks, scores), llama.model, tasks, config, progress=False)
    assert sorted(message.partition("'")[2].partition("'")[0] for message in caplog.messages) == [
        "mine", "yours",
    ]  # fmt: skip


def test_the_gradient_at_the_corrupt_run_is_no_look_at_it(llama, caplog):
    with caplog.at_level(logging.WARNING):
        attribute(llama.model, wrong_pairs(llama, 8), "nap", at="corrupt", progress=False)
    (said,) = caplog.messages
    assert "in 0 % of the first 8 pairs" in said


@pytest.mark.slow
def test_a_look_costs_no_pass(llama, monkeypatch):
    """Forward passes of 12 pairs, looked at on the way, are those that a study counts."""
    plain, counted, n = NodeModel.last_logits, [], 12

    def counting(self, tokens, *rest):
        # A run that starts at a layer with several copies of a pair counts each copy.
        counted.append(len(tokens))
        return plain(self, tokens, *rest)

    monkeypatch.setattr(NodeModel, "last_logits", counting)
    model, data = llama.model, wrong_pairs(llama, n)
    for method in METHODS:
        counted.clear()
        scores = attribute(model, data, method, ig_steps=3, batch_size=5, progress=False)
        passes = METHODS[method].cost(model.nodes, 3)
        assert sum(counted) == n * passes.forward, method
    counted.clear()
    config = AlignmentConfig(epochs=2, batch_size=5)
    align({"mine": scores}, model, {"mine": data}, config, progress=False)
    assert sum(counted) == config.passes([n]).forward


def test_a_look_leaves_no_hook(llama, register):
    def failing(model, batch, *_):
        raise KeyboardInterrupt

    register(METHODS, Method(name="failing", description="it fails", score=failing))
    before = dict(llama.model.tl._forward_hooks)
    with pytest.raises(KeyboardInterrupt):
        attribute(llama.model, wrong_pairs(llama, 8), "failing", progress=False)
    assert dict(llama.model.tl._forward_hooks) == before


def test_tokens_of_another_model_are_refused(toy_small):
    tokens = torch.full((1, 3), 10**6)
    data = PairDataset.from_tokens(tokens, tokens, torch.tensor([[1, 2]]))
    with pytest.raises(
        DataError, match=r"clean tokens of pairs \[0\] of 'tokens' are outside the vocab"
    ):
        report_pairs(toy_small, data)
