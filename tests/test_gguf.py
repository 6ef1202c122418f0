"""GGUF files give the model that was written into them, or an error that says why not."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from dfa_tl import (
    AlignmentConfig,
    NodeModel,
    PairDataset,
    PairSpec,
    PromptPair,
    StudyConfig,
    attribute,
    check,
    load_model,
    run_study,
)
from dfa_tl.errors import ConfigError, DFAError, FileFormatError, ModelError
from dfa_tl.study.inputs import ModelSpec, model_hashes
from oracle import Oracle
from tiny_models import ROPE_SCALING, VOCAB, tiny_model

pytest.importorskip("gguf")

from tiny_gguf import BOS, Tensors, in_8_bits, token_ids, write_gguf

LLAMA = tiny_model("llama-gqa")
# The context that Llama-3.1 was trained on first; of the four frequencies, two are scaled.
ROPE = {**ROPE_SCALING, "original_max_position_embeddings": 8192}
PROMPTS = ("a b c d", "q q z e a k")


def same_logits(model: NodeModel, plain: torch.nn.Module, tolerance: float = 1e-5) -> None:
    for prompt in PROMPTS:
        tokens = model.prompt_tokens(prompt)[None]
        with torch.no_grad():
            expected = plain(input_ids=tokens).logits
            torch.testing.assert_close(
                model.tl(tokens), expected, rtol=tolerance, atol=tolerance * float(expected.std())
            )


@pytest.mark.parametrize("kind", ["llama-gqa", "Qwen-2.5"])
def test_the_weights_are_those_in_the_file(tmp_path, kind):
    plain = tiny_model(kind)
    model = load_model(write_gguf(tmp_path / "tiny.v1.gguf", plain))
    assert (model.name, model.dtype) == ("tiny.v1", torch.float32)
    same_logits(model, plain)
    found = check(model, reference=plain)
    assert found.logits_error < found.tolerance


def test_scores_are_those_of_the_plain_model(tmp_path):
    model = load_model(write_gguf(tmp_path / "tiny.gguf", LLAMA))
    clean, corrupt = (torch.tensor([token_ids(each)]) for each in ("a b c d", "a e c d"))
    data = PairDataset([PromptPair("a b c d", "a e c d", " f", " g")], name="letters")
    scores = attribute(load_model(model, prepend_bos=False), data, "exact", progress=False)
    answers = torch.tensor([[*token_ids("x f")[1:], *token_ids("x g")[1:]]])
    expected = Oracle(LLAMA).exact((clean, corrupt, answers, torch.tensor([4])))
    torch.testing.assert_close(scores.values.double(), expected.nodes, rtol=1e-4, atol=1e-5)
    assert scores.provenance["dtype"] == "float32"


def test_quantised_weights_are_dequantised(tmp_path):
    plain = copy.deepcopy(LLAMA)
    with torch.no_grad():
        for weight in plain.parameters():
            if weight.ndim == 2:
                weight.copy_(torch.tensor(in_8_bits(weight.numpy())))
    path = write_gguf(tmp_path / "tiny.gguf", LLAMA, quantised=True)
    same_logits(load_model(path), plain)
    half = load_model(path, dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    assert half.tl.original_model.config.dtype == torch.bfloat16


def rope_divisors(factor: float) -> np.ndarray:
    """By how much Llama-3.1 divides each frequency, from its definition."""
    frequencies = ROPE["rope_theta"] ** -(np.arange(0, 8, 2) / 8)
    turns = ROPE["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    kept = ((turns - 1) / (4 - 1)).clip(0, 1)
    return (1 / ((1 - kept) / factor + kept)).astype(np.float32)


def test_the_rope_of_a_llama_3(tmp_path):
    plain = tiny_model("Llama-3", rope_parameters=ROPE, max_position_embeddings=131072)

    def with_frequencies(tensors: Tensors) -> Tensors:
        return {**tensors, "rope_freqs.weight": rope_divisors(8.0)}

    path = write_gguf(tmp_path / "tiny.gguf", plain, tensors=with_frequencies)
    model = load_model(path)
    assert model.tl.original_model.config.rope_parameters == ROPE
    # Far apart, so that the slow frequencies show.
    tokens = torch.tensor([[3, *[5] * 6000, 7]])[:, :6000:1000]
    positions = torch.tensor([[0, 1000, 2000, 3000, 4000, 5000]])
    with torch.no_grad():
        logits = load_model(path).tl.original_model(input_ids=tokens, position_ids=positions).logits
        expected = plain(input_ids=tokens, position_ids=positions).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_the_tokenizer_is_that_of_the_file(tmp_path, monkeypatch):
    """Neither a tokenizer beside the file nor a file of the same name elsewhere is read."""
    path = write_gguf(tmp_path / "tiny.gguf", LLAMA)
    tiny_model("Qwen-2.5").save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "tiny.gguf").write_text("another")
    monkeypatch.chdir(tmp_path / "elsewhere")
    model = load_model(str(path))
    assert model.prompt_tokens("a b z").tolist() == [BOS, *token_ids("a b z")]
    assert model.answer_tokens(" z").tolist() == token_ids("a z")[1:]
    same_logits(model, LLAMA)


def test_a_study_knows_the_file_by_its_content(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", LLAMA)
    name = str(path)
    before = model_hashes([name])[name]
    spec = ModelSpec(name, before, "float32", None, None)
    same_logits(spec.load(), LLAMA)
    moved = str(path.rename(tmp_path / "moved.gguf"))
    assert model_hashes([moved]) == {moved: before}
    write_gguf(path, tiny_model("llama-gqa", seed=1))
    assert model_hashes([name])[name] != before
    with pytest.raises(ModelError, match="no longer the model that the study was started with"):
        ModelSpec(name, before, "float32", None, "cpu").load()


class Bad(NamedTuple):
    """A file that is refused."""

    write: Callable[[Path], object]
    error: type[DFAError]
    match: str


def cut(size: float) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        whole = write_gguf(path, LLAMA).read_bytes()
        path.write_bytes(whole[: int(size * len(whole))])

    return write


def altered(position: int, byte: int) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        content = bytearray(write_gguf(path, LLAMA).read_bytes())
        content[position] = byte
        path.write_bytes(content)

    return write


def changed(**options) -> Callable[[Path], object]:
    return lambda path: write_gguf(path, LLAMA, **options)


def without_a_layer(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if "blk.1.ffn" not in name}


def with_bias(tensors: Tensors) -> Tensors:
    return {**tensors, "blk.0.attn_q.bias": np.ones(32, np.float32)}


def with_nan(tensors: Tensors) -> Tensors:
    tensors["blk.0.attn_q.weight"][3, 4] = np.nan
    return tensors


def other_frequencies(tensors: Tensors) -> Tensors:
    return {**tensors, "rope_freqs.weight": np.array([1, 1, 2, 8], np.float32)}


def beside_an_adapter(path: Path) -> None:
    write_gguf(path, LLAMA)
    (path.parent / "adapter_config.json").write_text("{}")


REFUSED = {
    "no file": Bad(lambda path: None, ModelError, "there is no file .*hf download"),
    "empty": Bad(Path.touch, FileFormatError, "is not a GGUF file"),
    "another format": Bad(lambda path: path.write_text("{}"), FileFormatError, "not a GGUF file"),
    "cut in the settings": Bad(cut(0.02), FileFormatError, "is truncated or altered"),
    "cut in the weights": Bad(cut(0.9), FileFormatError, "is truncated or altered"),
    "cut at the end": Bad(cut(0.999), FileFormatError, "is truncated or altered"),
    "another version": Bad(altered(4, 99), FileFormatError, "is truncated or altered"),
    "more tensors than there are": Bad(altered(8, 99), FileFormatError, "truncated or altered"),
    "unknown to Transformers": Bad(
        changed(architecture="rwkv6"), ModelError, "'rwkv6', that this version of Transformers can"
    ),
    "no decoder": Bad(changed(architecture="t5"), ModelError, "not a text-only decoder but a T5"),
    "weights of another shape": Bad(
        changed(architecture="qwen3"), FileFormatError, "the weights in .* cannot be read"
    ),
    "a part": Bad(changed(settings={"split.count": 3}), ModelError, "one of 3 parts: merge them"),
    "a layer is missing": Bad(changed(tensors=without_a_layer), ModelError, "do not fit its set"),
    "a bias of its own": Bad(changed(tensors=with_bias), ModelError, r"holds \d+ weights, and Lla"),
    "a weight is NaN": Bad(changed(tensors=with_nan), ModelError, "NaN or infinite, first"),
    "other RoPE": Bad(
        changed(settings={"llama.rope.scaling.type": "yarn"}), ModelError, "scaling of type 'yarn'"
    ),
    "other frequencies": Bad(
        changed(tensors=other_frequencies), ModelError, "not those of a Llama 3"
    ),
    "no tokenizer": Bad(changed(tokenizer=False), FileFormatError, "the tokenizer in .* cannot be"),
    "an adapter": Bad(beside_an_adapter, ModelError, "an adapter lies beside"),
}


@pytest.mark.parametrize("bad", REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path, bad):
    bad.write(tmp_path / "tiny.gguf")
    with pytest.raises(bad.error, match=bad.match):
        load_model(tmp_path / "tiny.gguf")


def test_without_the_extra(tmp_path, monkeypatch):
    path = write_gguf(tmp_path / "tiny.gguf", LLAMA)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelError, match=r'pip install "dfa_tl\[gguf\]"'):
        load_model(path)


def test_options_without_meaning(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", LLAMA)
    with pytest.raises(ConfigError, match="is not a hub model, so it has no revisions"):
        load_model(path, revision="main")
    assert load_model(path, device_map={"": "cpu"}).vocabulary_size == VOCAB


@pytest.mark.slow
def test_a_study_between_two_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(write_gguf(Path(f"{i}.gguf"), tiny_model("llama-gqa", seed=i))) for i in (0, 1)]
    for task in ("first", "second"):
        Path(task).mkdir()
        for i, split in enumerate(("train", "test")):
            rows = [
                f"{a} {b} c,{a} d c, {a}, e" for a, b in zip("abfgh", "klmno"[i:], strict=False)
            ]
            text = "\n".join(["clean,corrupt,answer,wrong_answer", *rows])
            Path(task, f"{split}.csv").write_text(text)
    config = StudyConfig(
        pairs=(PairSpec(*names),),
        tasks=("./first", "./second"),
        methods=("nap",),
        regimes=("zero-shot",),
        controls=("uniform_s",),
        train_pairs=4,
        test_pairs=4,
        few_pairs_methods=(),
        grids=("mib",),
        variants={"default": AlignmentConfig(epochs=1)},
        resamples=100,
    )
    results = run_study(config, "study", progress=False)
    assert not results.failures
    assert not results.missing
    scores = results.source_scores(config.pairs[0].name, "./first", "nap")
    assert (scores.provenance["model"], scores.provenance["dtype"]) == ("0", "float32")
