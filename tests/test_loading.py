"""Loading by hub name, short name, folder and live object; tokenizers; `check`."""

from __future__ import annotations

import logging
import re
import shutil
import socket
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants, errors
from tokenizers import Tokenizer
from torch import nn
from transformer_lens.model_bridge import TransformerBridge

from dfa_tl import NodeModel, NodeSet, attribute, check, load_model
from dfa_tl.errors import HubError, ModelError, NumericsError
from dfa_tl.io.model_names import BENCHMARK_NAMES, SHORT_NAMES
from dfa_tl.models import loading
from dfa_tl.models.folder import hub_folder
from dfa_tl.models.hugging_face import plain_model
from dfa_tl.models.interventions import capture
from dfa_tl.nodes import head_site, mlp_site
from dfa_tl.study.inputs import model_hashes
from fake_hub import COMMIT, fill_cache, serving_hub, use_hub
from hooked_models import hooked_transformer
from tiny_models import tiny_model, word_tokenizer

NAME = "organisation/model"
only_tl3 = pytest.mark.skipif(
    version("transformer-lens").startswith("4"), reason="TransformerLens 4 has none"
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def no_network(monkeypatch) -> None:
    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


# By name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (NAME, {"offline": True}),
        (NAME, {}),
        (NAME, {"offline": True, "revision": "v1"}),
        (NAME, {"offline": True, "revision": COMMIT}),
        ("llama3-1b", {"offline": True}),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_a_cached_model_is_loaded_without_a_network(cache, save_tiny, llama, name, options):
    fill_cache(cache, SHORT_NAMES.get(name, name), save_tiny("llama-gqa"))
    model = load_model(name, **options)
    assert model.name == name
    expected, scores = (
        attribute(each, llama.data, "nap", progress=False) for each in (llama.model, model)
    )
    assert torch.equal(scores.values, expected.values)
    assert scores.provenance["model"] == name


@pytest.fixture
def repository(tmp_path, save_tiny) -> Path:
    """A repository as many are: with other copies of the weights, and files of other kinds."""
    folder = Path(shutil.copytree(save_tiny("llama-gqa"), tmp_path / "repository"))
    (folder / "original").mkdir()
    for extra in (
        "original/params.json", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack",
        "consolidated.safetensors", "README.md", "LICENSE", "64.tflite",
    ):  # fmt: skip
        (folder / extra).write_bytes(b"no tensors")
    return folder


def test_a_model_is_fetched_with_a_token_and_then_found_in_the_cache(
    cache, repository, monkeypatch, llama
):
    with serving_hub(NAME, repository, token="hf_right") as (address, fetched):
        use_hub(monkeypatch, address)
        with pytest.raises(HubError, match="is gated and the token given has no access"):
            load_model(NAME, token="hf_wrong")
        model = load_model(NAME, token="hf_right")
    assert sorted(fetched) == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    assert torch.equal(
        attribute(model, llama.data, "nap", progress=False).values,
        attribute(llama.model, llama.data, "nap", progress=False).values,
    )
    # The server is gone: what was fetched is enough, also without offline mode.
    assert load_model(NAME).nodes == model.nodes
    assert load_model(NAME, offline=True).nodes == model.nodes


def test_weights_of_the_old_kind_are_fetched_where_there_are_no_others(
    cache, repository, monkeypatch
):
    (repository / "model.safetensors").unlink()
    with serving_hub(NAME, repository) as (address, fetched):
        use_hub(monkeypatch, address)
        folder = hub_folder(NAME)
    assert (folder / "pytorch_model.bin").is_file()
    assert "tf_model.h5" not in fetched


def response(status: int) -> Any:
    """As much of an HTTP response as errors of any version of the hub's client look at."""
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errors.GatedRepoError("no", response=response(403)), "gated .* accept its terms at https"),
        (errors.RepositoryNotFoundError("no", response=response(404)), "check the name at https"),
        (errors.RevisionNotFoundError("no", response=response(404)), "no revision 'v1'"),
        (errors.LocalEntryNotFoundError("no"), "`hf download organisation/model --revision v1`"),
        (errors.OfflineModeIsEnabled("no"), "offline mode is on .* `hf download organisation"),
        (errors.HfHubHTTPError("no", response=response(401)), "make a new one .* HF_TOKEN"),
        (errors.HfHubHTTPError("no", response=response(403)), "allow it to read .* HF_TOKEN"),
        (
            errors.HfHubHTTPError("no", response=response(500)),
            r"answered 500 \(HfHubHTTPError: no\)",
        ),
        (errors.HFValidationError("no"), "expected organisation/name"),
        (errors.LocalTokenNotFoundError("no"), "there is none: give a token .* HF_TOKEN"),
        (ConnectionError("no"), r"reached \(ConnectionError: no\).* `hf download organisation"),
        (TimeoutError("no"), r"reached \(TimeoutError: no\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_the_hubs_client_raises_becomes_one_kind_of_error(monkeypatch, error, says):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("dfa_tl.models.folder.snapshot_download", fail)
    with pytest.raises(HubError) as caught:
        load_model(NAME, revision="v1", token="hf_secret", offline=False)
    assert re.search(says, str(caught.value)), caught.value
    assert caught.value.__cause__ is error
    assert "hf_secret" not in str(caught.value)


PAPER = {
    "llama3-1b": NodeSet(16, 32),
    "llama3-3b": NodeSet(28, 24),
    "llama3-8b": NodeSet(32, 32),
    "qwen2.5-0.5b": NodeSet(24, 14),
    "qwen2.5-1.5b": NodeSet(28, 12),
    "qwen2.5-3b": NodeSet(36, 16),
}


def test_short_names_stand_for_hub_names(monkeypatch, save_tiny):
    asked = []
    monkeypatch.setattr(
        loading, "hub_folder", lambda name, **options: asked.append((name, options)) or folder
    )
    folder = save_tiny("gpt2")
    model = load_model("gpt2-small", revision="v1", token="t", offline=True)
    assert asked == [
        ("openai-community/gpt2", {"revision": "v1", "token": "t", "offline": True}),
    ]
    assert model.name == "gpt2-small"
    assert set(PAPER) <= set(SHORT_NAMES)
    assert all(re.fullmatch(r"[\w-]+/[\w.-]+", name) for name in SHORT_NAMES.values())
    twice = len(SHORT_NAMES) - len(set(SHORT_NAMES.values()))
    assert twice == len(BENCHMARK_NAMES)  # each is a model of the paper's code too


def test_the_benchmarks_own_names():
    assert {name: SHORT_NAMES[name] for name in ("gpt2", "qwen2.5", "gemma2", "llama3")} == {
        "gpt2": SHORT_NAMES["gpt2-small"],
        "qwen2.5": SHORT_NAMES["qwen2.5-0.5b"],
        "gemma2": SHORT_NAMES["gemma2-2b"],
        "llama3": SHORT_NAMES["llama3-8b"],
    }
    with pytest.raises(ModelError, match=r"'interpbench' cannot be loaded: .* give it to load_mod"):
        load_model("interpbench")
    with pytest.raises(ModelError, match="nothing is unpickled here"):
        model_hashes(["interpbench"])


def test_a_folder_called_like_a_model_stands_aside_unless_it_holds_one(
    cache, tmp_path, monkeypatch, save_tiny
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2-small").mkdir()
    with pytest.raises(HubError, match=r"openai-community/gpt2 is not complete in the cache"):
        load_model("gpt2-small")
    with pytest.raises(ModelError, match=r"it has no config\.json"):
        load_model(Path("gpt2-small"))
    (tmp_path / "gpt2-small").rmdir()
    shutil.copytree(save_tiny("gpt2"), tmp_path / "gpt2-small")
    assert load_model("gpt2-small").nodes == NodeSet(3, 4)


# Precision and place


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"device": "cpu"},
        {"device": torch.device("cpu"), "dtype": "float32"},
        {"device_map": {"": "cpu"}},
        {"device_map": "auto"},
        {
            "device_map": {
                "model.embed_tokens": "cpu",
                "model.layers": "cpu",
                "model.norm": "cpu",
                "model.rotary_emb": "cpu",
                "lm_head": "cpu",
            }
        },
    ],
    ids=str,
)
def test_where_the_weights_are_does_not_change_the_scores(save_tiny, llama, options):
    model = load_model(save_tiny("llama-gqa"), **options)
    if options.get("device_map") != "auto":
        assert model.device == torch.device("cpu")
    for method in ("nap-ig-activations", "exact"):
        scores = attribute(model, llama.data, method, ig_steps=2, progress=False)
        expected = attribute(llama.model, llama.data, method, ig_steps=2, progress=False)
        torch.testing.assert_close(scores.values, expected.values, rtol=1e-4, atol=1e-6)
    assert check(model).logits_error < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16, "float64"])
def test_dtype_by_name(save_tiny, dtype):
    expected = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    assert load_model(save_tiny("gpt2"), dtype=dtype).dtype == expected


def test_a_node_model_is_given_back(llama):
    assert load_model(llama.model) is llama.model
    with pytest.raises(ModelError, match="a live model is used as it is"):
        load_model(llama.model, device="cpu")


# Tokenizers


def test_a_tokenizer_splits_as_it_was_saved(tmp_path, caplog):
    """Qwen's tokenizer class builds its own way of splitting around a saved vocabulary."""
    tiny_model("Qwen-2.5").save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    text = "w3 w17 w5"
    with caplog.at_level(logging.WARNING, "dfa_tl"):
        model = load_model(tmp_path)
    assert "split text differently" in caplog.text
    assert model.prompt_tokens(text).tolist() == [3, 17, 5]
    saved = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert saved.encode(text, add_special_tokens=False).ids == [3, 17, 5]


def test_a_live_bridge_gets_no_bos_that_its_tokenizer_does_not_have(tmp_path):
    """TransformerLens would begin prompts with the end-of-sequence token."""
    tiny_model("Llama-3").save_pretrained(tmp_path)
    word_tokenizer(bos=False).save_pretrained(tmp_path)
    bridge = TransformerBridge.boot_transformers(str(tmp_path), device="cpu")
    eos = bridge.tokenizer.eos_token_id
    assert bridge.to_tokens("w3 w17")[0].tolist() == [eos, 3, 17]
    assert load_model(bridge).prompt_tokens("w3 w17").tolist() == [3, 17]


@only_tl3
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("bos", [True, False])
def test_a_hooked_transformers_prompts(tmp_path, bos, side):
    word_tokenizer(bos=bos).save_pretrained(tmp_path)
    tokenizer = type(word_tokenizer()).from_pretrained(tmp_path, padding_side=side)
    model = load_model(hooked_transformer(tiny_model("Llama-3"), tokenizer))
    first = [model.tl.tokenizer.bos_token_id] if bos else []
    assert model.prompt_tokens("w3 w17").tolist() == [*first, 3, 17]
    assert model.answer_tokens("w3").tolist() == [3]
    # A token that is the padding token is a token like any other in unpadded rows.
    pad = model.tl.tokenizer.pad_token_id
    tokens = torch.tensor([[pad, 3, 17]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        logits = model.last_logits(tokens, mask, torch.tensor([2]))
        plain = tiny_model("Llama-3")(tokens).logits[:, -1]
    torch.testing.assert_close(logits, plain, rtol=1e-4, atol=1e-4)


# check()


def test_check_leaves_the_model_as_it_was(save_tiny):
    model = load_model(save_tiny("GPT-2"))
    model.tl.train()
    flags = [(p.requires_grad, p.data_ptr()) for p in model.tl.parameters()]
    random = torch.get_rng_state()
    assert check(model).model == model.name
    assert [(p.requires_grad, p.data_ptr()) for p in model.tl.parameters()] == flags
    assert model.tl.training
    assert torch.equal(random, torch.get_rng_state())
    assert not any(point.fwd_hooks for point in model.tl.hook_dict.values())


def test_the_plain_model_shares_the_weights(save_tiny):
    model = load_model(save_tiny("GPT-2"))
    plain = plain_model(model.tl)
    assert not any("Bridge" in type(module).__name__ for module in plain.modules())
    mine = {p.data_ptr() for p in model.tl.original_model.parameters()}
    assert {p.data_ptr() for p in plain.parameters()} <= mine


def test_check_finds_a_bridge_that_computes_something_else(save_tiny):
    """GPT-2's bridge works on parts of one projection."""
    model = load_model(save_tiny("GPT-2"))
    queries = model.tl.blocks[1].attn.q.original_component
    queries.weight = nn.Parameter(queries.weight.detach() * 1.5)
    message = (
        r"logits differ from those of the GPT2LMHeadModel under the bridge by \d\.\d\de-0[12] of "
        r"the largest, more than 1e-04"
    )
    with pytest.raises(ModelError, match=message):
        check(model)


@pytest.mark.parametrize("family", ["Llama-3", "Gemma-2", "Pythia"])
@pytest.mark.parametrize(
    ("site", "place"),
    [
        ("blocks.1.hook_resid_pre", "stream leaving layer 0"),
        ("hook_embed", "logits differ"),
        ("blocks.1.attn.hook_z", "logits differ"),
    ],
)
def test_check_finds_what_else_writes_to_the_stream(save_tiny, family, site, place):
    """At a site that is checked, a user's hook is part of the model; the plain model has none."""
    model = load_model(save_tiny(family))
    model.hook_point(site).add_hook(lambda activation, hook: activation + 0.1 * activation.abs())
    with pytest.raises(ModelError, match=place):
        check(model)


@pytest.mark.parametrize("moved", [mlp_site(1), head_site(1)])
def test_check_finds_nodes_at_the_wrong_place(save_tiny, moved, monkeypatch):
    """For Gemma-2, the MLP before its norm, or heads whose weights are not their own."""
    model = load_model(save_tiny("Gemma-2"))
    monkeypatch.setitem(model._hook_points, mlp_site(1), model.tl.blocks[1].mlp.hook_out)
    with pytest.raises(ModelError, match=r"stream leaving layer 1 differs .* by \d\.\d\de[+-]\d\d"):
        check(model)
    monkeypatch.undo()
    check(model)


def test_heads_of_a_post_norm_model_do_not_add_up_singly(case_of):
    """The norm of the sum of the heads is not the sum of norms, nor of the heads."""
    case = case_of("Gemma-2")
    assert not check(case.model).additive_heads
    assert "so heads do not add up" in str(check(case.model))
    block = case.model.tl.blocks[1]
    batch = case.data.tokenize(case.model).select([0], "cpu")
    with torch.no_grad(), capture(case.model, [head_site(1), "blocks.1.hook_attn_out"]) as seen:
        case.model.last_logits(batch.clean, batch.mask, batch.last)
    with torch.no_grad():
        heads = torch.einsum("bphd,hdm->bphm", seen[head_site(1)], block.attn.W_O)
        norm = case.hf.model.layers[1].post_attention_layernorm
        write = seen["blocks.1.hook_attn_out"]
        torch.testing.assert_close(norm(heads.sum(2)), write, rtol=1e-4, atol=1e-5)
        assert (norm(heads).sum(2) - write).abs().max() > 0.1
        assert (heads.sum(2) - write).abs().max() > 0.1


def test_check_against_another_model(save_tiny, tmp_path):
    model = load_model(save_tiny("llama-gqa"))
    found = check(model, save_tiny("llama-gqa"))
    assert found.compared_with == f"the Hugging Face model {save_tiny('llama-gqa').name}"
    assert found.logits_error < 1e-5
    assert check(model, tiny_model("llama-gqa")).compared_with == "the LlamaForCausalLM given"
    with pytest.raises(ModelError, match="logits differ from those of the LlamaForCausalLM given"):
        check(model, tiny_model("llama-gqa", seed=1))
    with pytest.raises(ModelError, match="has 60 logits, the plain model 61: it is a different"):
        check(model, tiny_model("llama-gqa", vocab_size=61))


def test_check_of_weights_that_are_not_finite(save_tiny):
    model = load_model(save_tiny("llama-gqa"))
    with torch.no_grad():
        model.tl.unembed.original_component.weight[0, 0] = float("nan")
    with pytest.raises(NumericsError, match="logits that are not finite"):
        check(model)


def test_check_says_when_there_is_nothing_to_compare_with(tmp_path):
    tiny_model("llama-gqa").save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    bridge = TransformerBridge.boot_transformers(str(tmp_path), device="cpu")
    bridge.enable_compatibility_mode(disable_warnings=True)
    model = NodeModel(bridge, "processed")
    found = check(model)
    assert found.compared_with is None
    assert found.logits_error is None
    assert found.residual_error < 1e-4
    assert str(found).startswith("processed: there is no plain model to compare logits with; only")
    # Its logits are those of the model that it was made from, but for a constant.
    assert check(model, tiny_model("llama-gqa")).logits_error < 1e-4


@only_tl3
def test_check_of_a_hooked_transformer():
    model = load_model(hooked_transformer(tiny_model("Gemma-2")))
    assert check(model).compared_with is None
    assert not check(model).additive_heads
    assert check(model, tiny_model("Gemma-2")).logits_error < 1e-4
    with pytest.raises(ModelError, match="logits differ"):
        check(model, tiny_model("Gemma-2", seed=1))


def test_a_model_whose_weights_are_not_found_asks_for_a_reference(save_tiny):
    model = load_model(save_tiny("llama-gqa"))
    model.tl.original_model.config.attention_bias = True
    with pytest.raises(
        ModelError, match=r"12 weights of LlamaForCausalLM .* give check\(\) a refe"
    ):
        check(model)
    assert check(model, tiny_model("llama-gqa")).logits_error < 1e-4
