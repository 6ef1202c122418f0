"""Attention patterns against plain Hugging Face models, and their views as pages see them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from dfa_tl import Node, PromptPair, load_task
from dfa_tl.errors import ConfigError, DataError, HookError, ModelError
from dfa_tl.models.attention import AttentionPatterns, attention_patterns
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.viz.attention import attention_view, circuitsvis_script, token_view
from tiny_models import KINDS

HEADS = ("a2.h3", "a0.h1", "a2.h0")


def plain_patterns(hf, tokens: list[int], heads) -> torch.Tensor:
    with torch.no_grad():
        layers = hf(torch.tensor([tokens]), output_attentions=True).attentions
    return torch.stack([layers[int(head[1])][0, int(head[4:])] for head in heads])


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_are_those_of_the_plain_model(case_of, kind):
    case = case_of(kind)
    tokenizer = case.model.tl.tokenizer
    # Words of the tiny vocabulary, whatever they mean.
    ids = {"clean": [7, 9, 11, 8, 13], "corrupt": [7, 12, 11, 10, 13]}
    prompts = {run: tokenizer.decode(row) for run, row in ids.items()}
    pair = PromptPair(**prompts, answer=tokenizer.decode([14]), wrong_answer=tokenizer.decode([15]))
    patterns = attention_patterns(case.model, pair, (*HEADS[:2], "m1", HEADS[2]))
    assert patterns.heads == HEADS
    for run, row in ids.items():
        tokens = case.model.prompt_tokens(prompts[run]).tolist()
        assert tokens[-5:] == row  # GPT-NeoX has no BOS before them
        expected = plain_patterns(case.hf, tokens, HEADS)
        torch.testing.assert_close(getattr(patterns, run), expected, rtol=1e-4, atol=1e-6)
        assert getattr(patterns, f"{run}_tokens") == tuple(tokenizer.decode([t]) for t in tokens)
    assert not torch.allclose(patterns.clean, patterns.corrupt, atol=1e-3)


def test_bundled_patterns_are_those_of_the_plain_model(toy_large):
    hf = AutoModelForCausalLM.from_pretrained(
        BUNDLED_FOLDER / "toy-large", attn_implementation="eager"
    ).eval()
    pair = load_task("ioi", n=1, split="test").pairs[0]
    patterns = attention_patterns(toy_large, pair, [Node(3, 5), Node(1, 0), Node(2)])
    tokens = toy_large.prompt_tokens(pair.clean).tolist()
    expected = plain_patterns(hf, tokens, ("a3.h5", "a1.h0"))
    torch.testing.assert_close(patterns.clean, expected, rtol=1e-4, atol=1e-6)
    assert "".join(patterns.clean_tokens[1:]) == pair.clean.replace(" ", "")


def test_the_model_is_left_as_it_was(llama):
    model = llama.model
    words = model.tl.tokenizer
    pair = PromptPair(
        words.decode([7, 9]), words.decode([7, 12]), words.decode([14]), words.decode([15])
    )
    before = {name: value.clone() for name, value in model.tl.state_dict().items()}
    model.tl.train()
    try:
        attention_patterns(model, pair, HEADS)
        assert model.tl.training
        assert not any(point.fwd_hooks for point in model.tl.hook_dict.values())
        after = model.tl.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
    finally:
        model.tl.eval()


def test_what_cannot_be_read_is_an_error(llama, monkeypatch):
    model = llama.model
    words = model.tl.tokenizer.decode
    pair = PromptPair(words([7, 9]), words([7, 12]), words([14]), words([15]))
    with pytest.raises(ConfigError, match="no heads among"):
        attention_patterns(model, pair, ["m0", "m2"])
    with pytest.raises(ConfigError, match=r"no node a9\.h0"):
        attention_patterns(model, pair, ["a9.h0"])
    with pytest.raises(DataError, match="make them equal"):
        attention_patterns(model, replace(pair, corrupt=words([7])), HEADS)
    with pytest.raises(ModelError, match="has no hook point blocks"):
        model.hook_point("blocks.0.attn.hook_nothing")

    class Silent(nn.Module):
        """A hook point that is never reached, as with fused attention."""

        fwd_hooks: list

        def __init__(self):
            super().__init__()
            self.fwd_hooks = []

        def add_hook(self, function):
            self.fwd_hooks.append(type("Handle", (), {"hook": self.register_forward_hook(print)})())

    monkeypatch.setitem(model._hook_points, "blocks.0.attn.hook_pattern", Silent())
    with pytest.raises(HookError, match=r"never fired.*blocks\.0\.attn\.hook_pattern"):
        attention_patterns(model, pair, ["a0.h0"])


@pytest.fixture
def patterns() -> AttentionPatterns:
    """Two heads over three tokens, one of them markup."""
    clean = torch.tensor(
        [[[1, 0, 0], [0.25, 0.75, 0], [0.1, 0.7, 0.2]], [[1, 0, 0], [0.5, 0.5, 0], [0.9, 0.1, 0]]]
    )
    return AttentionPatterns(
        model="</script><img src=x onerror=alert(1)>",
        heads=("a0.h1", "a3.h0"),
        clean_tokens=("<bos>", "</script><img src=x onerror=alert(1)>", " Mary"),
        corrupt_tokens=("<bos>", " John", "\u2028"),
        clean=clean,
        corrupt=clean.flip(0),
    )


class Elements(HTMLParser):
    """What a browser sees: elements, and the content of data blocks."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.handlers: list[str] = []
        self.data: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "src"]
        self.inside = ("type", "application/json") in attrs

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.data.append(data)


def test_names_and_tokens_bring_in_no_markup(patterns):
    for view in (attention_view(patterns), token_view(patterns)):
        seen = Elements(view.body)
        assert "img" not in seen.names
        assert not seen.handlers
        assert seen.names.count("script") == len(seen.data) > 0
        for block in seen.data:
            props = json.loads(block)["props"]
            assert not any("<" in token for token in props["tokens"])


def test_the_data_are_the_patterns(patterns):
    first, second = (json.loads(block) for block in Elements(attention_view(patterns).body).data)
    assert first["component"] == second["component"] == "AttentionHeads"
    torch.testing.assert_close(torch.tensor(first["props"]["attention"]), patterns.clean)
    torch.testing.assert_close(torch.tensor(second["props"]["attention"]), patterns.corrupt)
    assert first["props"]["attentionHeadNames"] == ["a0.h1", "a3.h0"]
    rows = [
        json.loads(block)["props"]["values"] for block in Elements(token_view(patterns).body).data
    ]
    assert rows == [[0.1, 0.7, 0.2], [0.9, 0.1, 0], [0.9, 0.1, 0], [0.1, 0.7, 0.2]]
    rows = Elements(token_view(patterns, position=1).body).data
    assert json.loads(rows[0])["props"]["values"] == [0.25, 0.75, 0]


def test_the_alternative_texts_name_what_stands_out(patterns):
    view = attention_view(replace(patterns, model="toy"))
    assert "2 heads of toy over 3 tokens" in view.alt
    assert "a3.h0 attends most to “‹bos›” (0), with weight 0.90" in view.alt
    cells = re.findall(r"<td>(.*?)</td>", view.body)
    assert cells[-4:] == ["“‹bos›” (0)", "0.90", "“John” (1)", "0.70"]
    assert "“Mary” (position 2)" in token_view(patterns).alt


def test_the_page_is_whole_and_asks_no_host(patterns):
    html = attention_view(patterns)._repr_html_()
    assert circuitsvis_script() in html
    assert "unpkg" not in html
    assert "sourceMappingURL" not in html
    seen = Elements(html)
    assert seen.names.count("script") == 4  # two views' data, circuitsvis, and what draws them
    assert not seen.handlers


def test_a_position_that_is_not_there(patterns):
    with pytest.raises(ConfigError, match="position 3: the prompt has 3 tokens"):
        token_view(patterns, position=3)
