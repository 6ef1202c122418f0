"""Models that cannot be loaded: each is refused with a message that says what to do about it."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from dfa_tl import load_model
from dfa_tl.errors import ConfigError, DFAError, FileFormatError, HubError, ModelError
from fake_hub import fill_cache, refusing_hub, use_hub
from tiny_models import tiny_model, word_tokenizer

HUB_NAME = "organisation/model"


class Setting(NamedTuple):
    """Where a bad model is made."""

    tmp_path: Path
    cache: Path
    good: Path
    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack

    def copy(self) -> Path:
        """A good model's folder, to be spoilt."""
        return Path(shutil.copytree(self.good, self.tmp_path / "model"))

    def refused(self, status: int, **headers: str) -> str:
        use_hub(self.monkeypatch, self.stack.enter_context(refusing_hub(status, **headers)))
        return HUB_NAME


@pytest.fixture
def setting(tmp_path, save_tiny, monkeypatch) -> Iterator[Setting]:
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(cache)
    with ExitStack() as stack:
        yield Setting(tmp_path, cache, save_tiny("llama-gqa"), monkeypatch, stack)


class Bad(NamedTuple):
    """A bad model: how to make it, the options, and the error."""

    make: Callable[[Setting], Any]
    error: type[DFAError]
    message: str
    options: Mapping[str, Any] = MappingProxyType({})


def closed_port(setting: Setting) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    use_hub(setting.monkeypatch, f"http://127.0.0.1:{port}")
    return HUB_NAME


def half_in_cache(setting: Setting) -> str:
    fill_cache(setting.cache, HUB_NAME, setting.good, leave_out=("model.safetensors",))
    return HUB_NAME


def empty(setting: Setting) -> Path:
    folder = setting.tmp_path / "empty"
    folder.mkdir()
    return folder


def without(*patterns: str) -> Callable[[Setting], Path]:
    def make(setting: Setting) -> Path:
        folder = setting.copy()
        for pattern in patterns:
            for file in folder.glob(pattern):
                file.unlink()
        return folder

    return make


def missing_shard(setting: Setting) -> Path:
    folder = setting.copy()
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    return folder


def cut(amount: int) -> Callable[[Setting], Path]:
    def make(setting: Setting) -> Path:
        folder = setting.copy()
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-amount])
        return folder

    return make


def garbage(setting: Setting) -> Path:
    folder = setting.copy()
    (folder / "model.safetensors").write_bytes(b"no tensors here" * 100)
    return folder


def written(file: str, content: str) -> Callable[[Setting], Path]:
    def make(setting: Setting) -> Path:
        folder = setting.copy()
        (folder / file).write_text(content)
        return folder

    return make


def model_type(name: str) -> Callable[[Setting], Path]:
    return written("config.json", json.dumps({"model_type": name}))


def encoder(setting: Setting) -> Path:
    folder = setting.tmp_path / "bert"
    config = BertConfig(
        vocab_size=60, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Setting], Path]:
    def make(setting: Setting) -> Path:
        folder = setting.copy()
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


def nan_weight(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")


def infinite_weight(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.norm.weight"][0] = float("inf")


def lost_weight(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["model.layers.2.self_attn.o_proj.weight"]


def more_layers(setting: Setting) -> Path:
    folder = setting.copy()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    return folder


def good(setting: Setting) -> Path:
    return setting.good


def live(setting: Setting) -> nn.Module:
    return load_model(setting.good).tl


def on_meta(setting: Setting) -> nn.Module:
    return load_model(setting.good).tl.to("meta")


GATED = {"X_Error_Code": "GatedRepo", "X_Error_Message": "Access to this model is restricted."}
CASES = {
    "unknown hub name": Bad(
        lambda s: s.refused(404, X_Error_Code="RepoNotFound"),
        HubError,
        r"hub has no organisation/model .* check the name at https://huggingface\.co/organ"
        r"isation/model; a private repository needs a token \(token=",
    ),
    "unknown hub name, as the hub says it without a token": Bad(
        lambda s: s.refused(401), HubError, r"the hub has no organisation/model"
    ),
    "gated, without a token": Bad(
        lambda s: s.refused(401, **GATED),
        HubError,
        r"model is gated and no token was given: accept its terms at https://huggingface\.co/organi"
        r"sation/model, and give a token of that account \(token=\.\.\. or the variable HF_TOKEN",
    ),
    "gated, without access": Bad(
        lambda s: s.refused(403, **GATED),
        HubError,
        "is gated and the token given has no access: accept its terms",
        {"token": "hf_secret"},
    ),
    "wrong token": Bad(
        lambda s: s.refused(401, X_Error_Message="Invalid credentials in Authorization header"),
        HubError,
        r"refuses the token .* make a new one at https://huggingface\.co/settings/tokens",
        {"token": "hf_secret"},
    ),
    "token without the right": Bad(
        lambda s: s.refused(403, X_Error_Message="Please enable access to public gated repos"),
        HubError,
        r"token given may not read organisation/model: allow it to read gated repositories",
        {"token": "hf_secret"},
    ),
    "token of a login that is not there": Bad(
        lambda s: s.refused(401), HubError, "there is none: give a token", {"token": True}
    ),
    "missing revision": Bad(
        lambda s: s.refused(404, X_Error_Code="RevisionNotFound"),
        HubError,
        r"model has no revision 'v9': its branches and tags are at https://\S+/tree/main",
        {"revision": "v9"},
    ),
    "hub out of order": Bad(
        lambda s: s.refused(410),
        HubError,
        r"hub answered 410 .* run `hf download organisation/model` once",
    ),
    "no network": Bad(
        closed_port,
        HubError,
        r"not complete in the cache \S+cache, and the hub cannot be reached .* run `hf download "
        r"organisation/model --revision v1` once where there is a network, or copy that cache",
        {"revision": "v1"},
    ),
    "offline by the variable, not in the cache": Bad(
        lambda _: HUB_NAME, HubError, r"offline mode is on .*HF_HUB_OFFLINE.* `hf download organ"
    ),
    "offline by the option, not in the cache": Bad(
        lambda s: s.refused(500), HubError, r"offline mode is on \(offline=True", {"offline": True}
    ),
    "online by the option, offline by the variable": Bad(
        lambda _: HUB_NAME, HubError, r"offline mode is on .*HF_HUB_OFFLINE", {"offline": False}
    ),
    "offline, a revision that is not in the cache": Bad(
        half_in_cache, HubError, "--revision v9", {"revision": "v9", "offline": True}
    ),
    "offline, in the cache without weights": Bad(
        half_in_cache, ModelError, "holds no weights .* `hf download organisation/model`"
    ),
    "no name at all": Bad(
        lambda _: "a/b/c", HubError, r"'a/b/c' cannot be a name on the hub: expected organ"
    ),
    "unknown short name": Bad(
        lambda _: "llama3-2b",
        HubError,
        r"no model 'llama3-2b' \(did you mean llama3-1b, llama3-3b, llama3-8b, llama3\?\): expec"
        r"ted a folder, a GGUF file, a hub name .*, or a short name such as .* as a hub name: "
        r"llama3-2b is not complete",
    ),
    "unknown bundled name": Bad(
        lambda _: "toy-medium",
        ModelError,
        r"did you mean toy-small, toy-large\?.* toy-small, toy-large, or",
    ),
    "missing folder": Bad(lambda _: "./nowhere", ModelError, "no model './nowhere'"),
    "missing folder as a path": Bad(lambda s: s.tmp_path / "no", ModelError, "no model '/.*/no'"),
    "empty folder": Bad(empty, ModelError, r"it has no config\.json; write it with save_"),
    "folder without tokenizer": Bad(
        without("tokenizer*"), ModelError, r"holds no tokenizer \(tokenizer\.json, .*; write it"
    ),
    "folder without weights": Bad(
        without("*.safetensors"), ModelError, r"holds no weights \(model\.safetensors, or shards"
    ),
    "folder with a missing shard": Bad(
        missing_shard, ModelError, r"lacks 1 of its weight files \(model-00002-of-00002\.safetens"
    ),
    "truncated weights": Bad(
        cut(1000), FileFormatError, r"cannot be read \(Safetensor.*may be truncated: write it"
    ),
    "weights cut down to nothing": Bad(
        lambda s: cut((s.good / "model.safetensors").stat().st_size)(s),
        FileFormatError,
        "cannot be read",
    ),
    "weights that are something else": Bad(garbage, FileFormatError, "cannot be read"),
    "settings that are no JSON": Bad(
        written("config.json", '{"model_type": "llama", '),
        FileFormatError,
        r"config\.json is not valid JSON .*; write it with save_pretrained",
    ),
    "settings that are a list": Bad(
        written("config.json", "[]"), FileFormatError, r"config\.json holds a list, not an object"
    ),
    "settings that make no model": Bad(
        written("config.json", '{"model_type": "llama", "hidden_size": "wide"}'),
        ModelError,
        r"'model' .* not supported by this version .*\(.*hidden_size",
    ),
    "tokenizer that is something else": Bad(
        written("tokenizer.json", '{"version": "1.0"}'),
        FileFormatError,
        r"the tokenizer in \S+model cannot be read \(.*\); write it with save_pretrained",
    ),
    "architecture without text": Bad(
        model_type("resnet"), ModelError, r"not supported by this version .*\(.*resnet"
    ),
    "architecture that nobody knows": Bad(
        model_type("future-9"), ModelError, r"not supported by this version .*\(.*future-9"
    ),
    "encoder": Bad(encoder, ModelError, "is not a text-only decoder"),
    "weights of too few layers": Bad(
        more_layers,
        ModelError,
        r"do not fit its settings: 9 parameters .* \(model\.layers\.3\.\S+\)",
    ),
    "weights with one lost": Bad(
        weights(lost_weight), ModelError, r"1 parameters .*\(model\.layers\.2\.self_attn\.o_proj"
    ),
    "NaN weights": Bad(
        weights(nan_weight), ModelError, r"are NaN or infinite, first \S*1\.mlp\.(up_proj|in)\."
    ),
    "infinite weights": Bad(
        weights(infinite_weight), ModelError, r"are NaN or infinite, first \S*(norm|ln_final)"
    ),
    "model on the meta device": Bad(
        on_meta, ModelError, r"weights .* meta device .* load them into memory"
    ),
    "object that is no model": Bad(
        lambda _: 3, ModelError, "expected a model's name, a folder, .* got int"
    ),
    "module that is no model": Bad(
        lambda _: nn.Linear(2, 2), ModelError, "expected a HookedTransformer or .*, got Linear"
    ),
    "plain Hugging Face model": Bad(
        lambda _: tiny_model("gpt2"),
        ModelError,
        r"got GPT2LMHeadModel; load_model makes one from a name or a folder",
    ),
    "live model with options": Bad(
        live, ModelError, "a live model is used as it is", {"revision": "v1"}
    ),
    "folder with a revision": Bad(
        good, ConfigError, "is not a hub model, so it has no revisions", {"revision": "v1"}
    ),
    "dtype of integers": Bad(
        good, ConfigError, r"dtype=torch\.int8: choose one of float32, b", {"dtype": torch.int8}
    ),
    "dtype by a wrong name": Bad(
        good, ConfigError, "dtype='half': choose one of float32, bfloat16", {"dtype": "half"}
    ),
    "device that is not there": Bad(
        good,
        ConfigError,
        r"device 'cuda:99' cannot be used .* here are: cpu",
        {"device": "cuda:99"},
    ),
    "device by a wrong name": Bad(
        good, ConfigError, r"device 'gpu' cannot be used .* here are: cpu", {"device": "gpu"}
    ),
    "device without numbers": Bad(
        good, ConfigError, "device 'meta' cannot be used .*hold no numbers", {"device": "meta"}
    ),
    "device and device_map": Bad(
        good, ConfigError, "either device or device_map", {"device": "cpu", "device_map": "auto"}
    ),
    "device_map by a wrong name": Bad(
        good, ConfigError, "device_map='evenly': choose one of auto, b", {"device_map": "evenly"}
    ),
    "device_map of nothing": Bad(
        good, ConfigError, r"device_map=\{\}: expected one of auto", {"device_map": {}}
    ),
    "device_map with modules that are not there": Bad(
        good,
        ConfigError,
        r"names 'nowhere', and the model has no such module: its parts are model, lm_head, and",
        {"device_map": {"nowhere": "cpu", "model": "cpu", "lm_head": "cpu"}},
    ),
    "device_map with modules left out": Bad(
        good,
        ConfigError,
        r"no device for lm_head\.weight: give one to each of model, lm_head",
        {"device_map": {"model": "cpu"}},
    ),
    "device_map with a device that is not there": Bad(
        good, ConfigError, "device 99 cannot be used", {"device_map": {"model": 99}}
    ),
    "device_map to the disk": Bad(
        good, ConfigError, "puts weights on the disk", {"device_map": {"": "disk"}}
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", CASES)
def test_bad_models_are_refused(setting, name, capsys):
    case = CASES[name]
    model = case.make(setting)
    before = sorted(setting.tmp_path.rglob("*"))
    capsys.readouterr()
    with pytest.raises(case.error) as caught:
        load_model(model, **case.options)
    message = str(caught.value)
    assert re.search(case.message, message), message
    assert "\n" not in message
    assert "hf_secret" not in message
    # Nothing is written, neither to the folder, to the cache nor to the standard output.
    assert sorted(setting.tmp_path.rglob("*")) == before
    assert capsys.readouterr().out == ""
