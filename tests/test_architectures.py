"""Every architecture of TransformerLens's registry is right, or refused when it is loaded.

By default a handful runs; `-m slow` runs all. What they find makes docs/families.md: see
families_table.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

from architectures import (
    ARCHITECTURES,
    NOT_BUILT,
    Architecture,
    architecture_model,
    refusal_of,
    traits_of,
)
from dfa_tl import NodeScores, PairDataset, PromptPair, attribute, check, evaluate, load_model
from dfa_tl.errors import ModelError
from families_table import FAILED, MAJOR, TABLE, read_record, render
from oracle import Oracle
from tiny_models import Pairs, random_pairs, word_tokenizer

TOLERANCE = 1e-4
KS = (0.0, 0.4, 1.0)
LENGTHS = (3, 7)  # the longer one is longer than the windows
# Ordinary; padding that used to be silently wrong; hooks that used to be; none of its kind.
BY_DEFAULT = (
    "LlamaForCausalLM (grouped-query)",
    "OpenAIGPTLMHeadModel",
    "DeepseekV3ForCausalLM (narrow values)",
    "GraniteForCausalLM",
    "MambaForCausalLM",
)
INSTALLED = [each for each in ARCHITECTURES if each.name in SUPPORTED_ARCHITECTURES]

pytestmark = pytest.mark.filterwarnings("ignore")


def marked(architecture: Architecture) -> Any:
    slow = () if architecture.label in BY_DEFAULT else pytest.mark.slow
    return pytest.param(architecture, id=architecture.label, marks=slow)


def close(actual: Any, expected: Any) -> None:
    """To 1e-4 of the largest expected value: single entries may be zero."""
    actual, expected = (torch.as_tensor(each).detach().double() for each in (actual, expected))
    assert actual.shape == expected.shape
    assert expected.abs().max() > 0
    assert (actual - expected).abs().max() <= TOLERANCE * expected.abs().max()


def together(scores: Any) -> Tensor:
    """The scores of all nodes, and of the input."""
    if isinstance(scores, NodeScores):
        return torch.cat([scores.values, torch.tensor([scores.input])])
    return torch.cat([scores.nodes, scores.input[None]])


def save(
    architecture: Architecture, folder: Path, bos: bool = True
) -> transformers.PreTrainedModel:
    hf = architecture_model(architecture)
    hf.save_pretrained(folder)
    word_tokenizer(bos=bos).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [architecture.name]}))
    return hf


@pytest.mark.parametrize("architecture", [marked(each) for each in INSTALLED])
def test_right_or_refused(tmp_path, record_property, architecture):
    record_property("outcome", [architecture.name, architecture.variant, FAILED])
    folder = tmp_path / "model"
    hf = save(architecture, folder)
    refusal = refusal_of(architecture.name, architecture.variant)
    if refusal is not None:
        reason, message = refusal
        with pytest.raises(ModelError, match=message):
            load_model(folder)
        record_property("outcome", [architecture.name, architecture.variant, f"refused: {reason}"])
        return
    model = load_model(folder)
    # XGLM's attention works in float32 alone.
    oracle = Oracle(hf, dtype=torch.float32 if hf.config.model_type == "xglm" else torch.float64)
    pairs = told_apart(oracle)
    data = PairDataset.from_tokens(*pairs)
    batch = data.tokenize(model).select(range(len(LENGTHS)), "cpu")
    with torch.no_grad():
        logits = model.last_logits(batch.clean, batch.mask, batch.last)
    close(logits, torch.cat([run.clean_logits for run in oracle.plain_runs(pairs)]))
    for method in ("nap", "exact"):
        expected = together(getattr(oracle, method)(pairs))
        for size in (1, len(LENGTHS)):
            scores = attribute(model, data, method, batch_size=size, progress=False)
            close(together(scores), expected)
    curve = evaluate(model, data, scores, ks=KS, batch_size=len(LENGTHS), progress=False)
    close(curve.faithfulness, oracle.faithfulness(pairs, scores.values, KS))
    for bos in (True, False):
        texts_are_right(folder, oracle, bos)
    found = check(model)
    assert found.logits_error is not None
    traits = [traits_of(hf.config), "" if found.additive_heads else "norm after attention"]
    outcome = "; ".join(["right", ", ".join(filter(None, traits))]).removesuffix("; ")
    record_property("outcome", [architecture.name, architecture.variant, outcome])


def told_apart(oracle: Oracle) -> Pairs:
    """Pairs whose clean and corrupt metric differ: f divides by the difference of their means."""
    for seed in range(20):
        pairs = random_pairs(n=len(LENGTHS), lengths=LENGTHS, seed=seed)
        clean, corrupt = (values.mean() for values in oracle.clean_corrupt_metric(pairs))
        if (clean - corrupt).abs() > 0.1 * max(clean.abs(), corrupt.abs()):
            return pairs
    raise AssertionError("the model tells no pairs apart")


def texts_are_right(folder: Path, oracle: Oracle, bos: bool) -> None:
    """Prompts begin with a BOS only where the tokenizer has one, and score as their tokens do."""
    tokenizer = word_tokenizer(bos=bos)
    tokenizer.save_pretrained(folder)
    model = load_model(folder)
    prompts = ("w9 w4 w30 w31 w7", "w9 w4 w8")
    texts = PairDataset(tuple(PromptPair(p, p.replace("w4", "w5"), "w3", "w2") for p in prompts))
    tokens = texts.tokenize(model)
    assert tokens.clean[1, tokens.lengths[1] - 3 :][:3].tolist() == [9, 4, 8]
    before = tokens.clean[1, : tokens.lengths[1] - 3].tolist()
    assert before in ([[], [tokenizer.bos_token_id]] if bos else [[]])
    pairs = (tokens.clean, tokens.corrupt, tokens.answers, tokens.lengths)
    close(attribute(model, texts, "nap", progress=False).values, oracle.nap(pairs).nodes)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NOT_BUILT if name in SUPPORTED_ARCHITECTURES])
def test_refused_for_its_settings(tmp_path, record_property, name):
    """A folder that says it holds one: what is no decoder, or has no class in Transformers."""
    record_property("outcome", [name, "", FAILED])
    model_class = getattr(transformers, name, None)
    model_type = model_class.config_class.model_type if model_class else name.lower()
    settings = {"architectures": [name], "model_type": model_type}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    word_tokenizer().save_pretrained(tmp_path)
    reason, message = refusal_of(name) or ("", "")
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)
    record_property("outcome", [name, "", f"refused: {reason}"])


def test_every_architecture_is_accounted_for():
    """A new one of TransformerLens's needs a record, or a reason."""
    names = {each.name for each in ARCHITECTURES} | set(NOT_BUILT)
    assert set(SUPPORTED_ARCHITECTURES) <= names
    assert len(NOT_BUILT) == len(set(NOT_BUILT))


def expected_refusals() -> dict[str, tuple[str, str] | None]:
    """Of every row that the installed TransformerLens has."""
    rows = {each.label: refusal_of(each.name, each.variant) for each in INSTALLED}
    return rows | {name: refusal_of(name) for name in NOT_BUILT if name in SUPPORTED_ARCHITECTURES}


def test_the_page_shows_what_was_found():
    record = read_record()
    for label, refusal in expected_refusals().items():
        outcome = record.get(label, {}).get(MAJOR)
        right = "right" if refusal is None else f"refused: {refusal[0]}"
        assert outcome is None or outcome.startswith(right), label
    assert TABLE.read_text(encoding="utf-8") == render(record)


@pytest.mark.slow
def test_the_page_shows_every_architecture():
    record = read_record()
    assert not [label for label in expected_refusals() if MAJOR not in record.get(label, {})]
