"""BOS: one at most, `prepend_bos` wherever text becomes tokens, and the benchmark's own mode."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import datasets
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

import benchmark_reader
from dfa_tl import (
    AlignmentConfig,
    NodeScores,
    PairDataset,
    PromptPair,
    align,
    attribute,
    evaluate,
    load_model,
    load_task,
)
from dfa_tl.cli.app import app
from dfa_tl.errors import ConfigError, ModelError
from dfa_tl.models.attention import attention_patterns
from dfa_tl.models.bundled.train import VOCABULARY
from dfa_tl.study.config import PairSpec, StudyConfig
from hooked_models import hooked_transformer
from oracle import Oracle
from tiny_models import tiny_model, word_tokenizer

IOI = Path(__file__).parent / "data" / "mib" / "ioi"
MAJOR = int(version("transformer-lens").split(".")[0])
BOS, EOS = (word_tokenizer().convert_tokens_to_ids(f"<{kind}>") for kind in ("bos", "eos"))
PAIR = PromptPair("w3 w17", "w4 w17", "w5", "w6")


class SlowWords(PreTrainedTokenizer):
    """`word_tokenizer` in Python; `own_bos` says whether it prepends its BOS itself."""

    def __init__(self, own_bos: bool) -> None:
        self.ids, self.own_bos = word_tokenizer().get_vocab(), own_bos
        super().__init__(bos_token="<bos>", eos_token="<eos>", pad_token="<eos>", unk_token="<unk>")

    @property
    def vocab_size(self) -> int:
        return len(self.ids)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.ids)

    def _tokenize(self, text: str, **_) -> list[str]:
        return text.split()

    def _convert_token_to_id(self, token: str) -> int:
        return self.ids.get(token, self.ids["<unk>"])

    def _convert_id_to_token(self, index: int) -> str:
        return next(token for token, i in self.ids.items() if i == index)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        return [BOS, *token_ids_0] if self.own_bos else token_ids_0


def fast_words(own_bos: bool) -> PreTrainedTokenizerFast:
    tokenizer = word_tokenizer()
    if own_bos:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", BOS)]
        )
    return tokenizer


@pytest.fixture(scope="module")
def bridges(tmp_path_factory) -> dict[str, TransformerBridge]:
    """A family whose prompts begin with a BOS by default, and one whose prompts do not."""
    found = {}
    for family in ("Llama-3", "Pythia"):
        folder = tmp_path_factory.mktemp(family)
        tiny_model(family).save_pretrained(folder)
        word_tokenizer().save_pretrained(folder)
        found[family] = TransformerBridge.boot_transformers(str(folder), device="cpu")
    return found


def with_tokenizer(bridge: TransformerBridge, kind, own_bos: bool) -> TransformerBridge:
    tokenizer = kind(own_bos)
    # So that TransformerLens takes it as it is.
    tokenizer.init_kwargs |= {"name_or_path": "", "add_bos_token": True}
    bridge.tokenizer = tokenizer
    assert bridge.tokenizer("w3")["input_ids"] == ([BOS, 3] if own_bos else [3])
    bridge.cfg.tokenizer_prepends_bos = own_bos  # as TransformerLens finds it out
    return bridge


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Path:
    """A tiny Qwen-2.5 with a tokenizer of the benchmark's words that has an EOS and no BOS."""
    folder = tmp_path_factory.mktemp("qwen")
    words = [word for word in VOCABULARY if not word.startswith("<")]
    vocabulary = {word: i for i, word in enumerate([*words, "<unk>", "<|endoftext|>"])}
    tiny_model("Qwen-2.5", vocab_size=len(vocabulary)).save_pretrained(folder)
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", pad_token="<|endoftext|>",
        unk_token="<unk>",
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture
def benchmark_ioi(tmp_path_factory, monkeypatch) -> PairDataset:
    cache = tmp_path_factory.getbasetemp() / "datasets"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    return load_task("mib/ioi", path=IOI)


# A prompt that begins with the BOS


@pytest.mark.parametrize("family", ["Llama-3", "Pythia"])
@pytest.mark.parametrize("own_bos", [True, False], ids=["own", "prepended"])
@pytest.mark.parametrize("kind", [fast_words, SlowWords], ids=["fast", "slow"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_prompt_that_begins_with_the_bos_has_one(bridges, family, kind, own_bos, side):
    bridge = with_tokenizer(bridges[family], kind, own_bos)
    bridge.tokenizer.padding_side = side
    default = [BOS] if family == "Llama-3" else []
    for prepend_bos, first in ((None, default), (True, [BOS]), (False, [])):
        model = load_model(bridge, prepend_bos=prepend_bos)
        assert model.prompt_tokens("w3 w17").tolist() == [*first, 3, 17]
        assert model.prompt_tokens("<bos> w3 w17").tolist() == [BOS, 3, 17]
        assert model.prompt_tokens("w3 <bos> w17").tolist() == [*first, 3, BOS, 17]
        # What stands there twice was meant twice.
        assert model.prompt_tokens("<bos> <bos> w3").tolist() == [BOS, BOS, 3]
        assert model.answer_tokens("w3").tolist() == [3]


def test_a_rendered_chat_template_has_one_bos(tmp_path):
    tiny_model("Llama-3").save_pretrained(tmp_path)
    tokenizer = word_tokenizer()
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %} w1 {{ m['content'] }} w2{% endfor %}"
    )
    tokenizer.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    prompt = model.tl.tokenizer.apply_chat_template(
        [{"role": "user", "content": "w3 w17"}], tokenize=False
    )
    assert prompt.startswith("<bos>")
    rendered = PairDataset((PromptPair(prompt, prompt.replace("w3", "w4"), "w5", "w6"),))
    assert rendered.tokenize(model).clean.tolist() == [[BOS, 1, 3, 17, 2]]


def test_a_special_token_before_the_bos(bridges):
    """XGLM's tokenizer begins every text with its EOS."""
    bridge = with_tokenizer(bridges["Llama-3"], fast_words, False)
    bridge.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<eos> $A", special_tokens=[("<eos>", EOS)]
    )
    model = load_model(bridge)
    for prompt in ("w3 w17", "<bos> w3 w17"):
        assert model.prompt_tokens(prompt).tolist() == [EOS, BOS, 3, 17]


@pytest.mark.skipif(MAJOR >= 4, reason="HookedTransformer does not exist in TransformerLens 4")
@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hooked_transformers_bos(tmp_path, bos, side):
    word_tokenizer(bos=bos).save_pretrained(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path, padding_side=side)
    tl = hooked_transformer(tiny_model("Llama-3"), tokenizer)
    first, text = (BOS, "<bos>") if bos else (EOS, "<eos>")
    for prepend_bos in (None, True, False):
        model = load_model(tl, prepend_bos=prepend_bos)
        prepended = bos if prepend_bos is None else prepend_bos
        expected = [first, 3, 17] if prepended else [3, 17]
        assert model.prompt_tokens("w3 w17").tolist() == expected
        assert model.prompt_tokens(f"{text} w3 w17").tolist() == [first, 3, 17]
        assert tl.cfg.default_prepend_bos is True


# The switch


def test_a_tokenizer_without_a_bos(qwen):
    words = load_model(qwen).tl.tokenizer.get_vocab()
    plain = [words["Mary"], words["gave"]]
    for prepend_bos, first in ((None, []), (True, [words["<|endoftext|>"]]), (False, [])):
        model = load_model(qwen, prepend_bos=prepend_bos)
        assert model.prompt_tokens("Mary gave").tolist() == first + plain
        assert model.answer_tokens(" Mary").tolist() == plain[:1]
    as_benchmark = model.tl.to_tokens(["Mary gave"], prepend_bos=True, padding_side="right")
    assert load_model(qwen, prepend_bos=True).prompt_tokens("Mary gave").equal(as_benchmark[0])


def test_a_live_model_is_not_changed_by_it(bridges):
    bridge = with_tokenizer(bridges["Pythia"], fast_words, True)
    settings = dict(vars(bridge.cfg))
    plain = load_model(bridge)
    with_bos = load_model(plain, prepend_bos=True)
    without = load_model(with_bos, prepend_bos=False)
    assert [m.prepend_bos for m in (plain, with_bos, without)] == [None, True, False]
    assert plain.tl is with_bos.tl is without.tl is bridge
    assert (plain.name, without.name) == (with_bos.name,) * 2
    lengths = [len(m.prompt_tokens("w3 w17")) for m in (plain, with_bos, without, plain)]
    assert lengths == [2, 3, 2, 2]
    assert vars(bridge.cfg) == settings
    assert load_model(with_bos) is with_bos
    with pytest.raises(ModelError, match="give no options but prepend_bos"):
        load_model(bridge, device="cpu", prepend_bos=True)


def test_it_is_shown_where_it_is_not_the_default(toy_small):
    assert "prepend_bos" not in repr(toy_small)
    assert repr(load_model(toy_small, prepend_bos=False)).endswith("cpu, prepend_bos=False)")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("value", ["yes", 1, 0, torch.tensor(True)])
def test_anything_else_is_refused(value, toy_small):
    message = "prepend_bos=.*: (must be True, False or None|expected True or False or None)"
    for model in ("toy-small", toy_small.tl, toy_small):
        with pytest.raises(ConfigError, match=message):
            load_model(model, prepend_bos=value)
    with pytest.raises(ConfigError, match=message):
        PairDataset((PAIR,), prepend_bos=value)
    with pytest.raises(ConfigError, match=message):
        StudyConfig((PairSpec("toy-small", "toy-large"),), prepend_bos=value)


def test_a_tokenizer_with_nothing_to_prepend(tmp_path, benchmark_ioi):
    """TransformerLens then takes the text <|endoftext|>, which is no token of the model."""
    tiny_model("Qwen-2.5").save_pretrained(tmp_path)
    core = Tokenizer(WordLevel({f"w{i}": i for i in range(60)}, unk_token="w0"))
    core.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(tmp_path)
    message = r"prompts should begin with a BOS, and the tokenizer has none .*'<\|endoftext\|>'"
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path, prepend_bos=True)
    model = load_model(tmp_path)
    assert model.prompt_tokens("w3 w17").tolist() == [3, 17]
    with pytest.raises(ModelError, match=message):
        benchmark_ioi.tokenize(model)


def test_what_is_measured_says_how_it_was_tokenised(bridges):
    bridge = with_tokenizer(bridges["Pythia"], fast_words, True)
    data = PairDataset((PAIR,), name="mine")
    found = {}
    for prepend_bos in (None, True):
        model = load_model(bridge, prepend_bos=prepend_bos)
        scores = attribute(model, data, "nap", progress=False)
        config = AlignmentConfig(epochs=1)
        alignment = align({"mine": scores}, model, {"mine": data}, config, progress=False)
        curve = evaluate(model, data, scores, progress=False)
        for result in (scores, alignment, alignment.transfer(scores), curve):
            assert result.provenance["prepend_bos"] is prepend_bos
        patterns = attention_patterns(model, data, ["a0.h0"])
        assert patterns.clean_tokens == ("<bos>",) * (prepend_bos is True) + ("w3", "w17")
        found[prepend_bos] = scores.values
    assert not torch.allclose(found[None], found[True], rtol=1e-2)


@pytest.mark.parametrize(("flag", "expected"), [("--prepend-bos", True), ("", None)])
def test_on_the_command_line(tmp_path, qwen, flag, expected):
    out = tmp_path / "scores.safetensors"
    arguments = ["attribute", "--model", str(qwen), "--task", "ioi", "--pairs", "2", "--quiet"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(out), *flag.split()])
    assert result.exit_code == 0, result.output
    scores = NodeScores.load(out)
    assert scores.provenance["prepend_bos"] is expected
    model, data = load_model(qwen, prepend_bos=expected), load_task("ioi", n=2)
    same = attribute(model, data, progress=False)
    torch.testing.assert_close(scores.values, same.values)


# The benchmark


def test_the_benchmarks_tasks_begin_with_a_bos(qwen, bridges, benchmark_ioi):
    model = load_model(qwen)
    end = model.tl.tokenizer.eos_token_id
    assert benchmark_ioi.prepend_bos is True
    for data in (benchmark_ioi, benchmark_ioi[:2]):
        assert set(data.tokenize(model).clean[:, 0].tolist()) == {end}
    as_eap_ig = PairDataset.from_eap_ig(benchmark_ioi.to_eap_ig(model))
    assert as_eap_ig.tokenize(model).clean.equal(benchmark_ioi.tokenize(model).clean)
    # The model's own setting goes before, and other tasks have no mode of their own.
    without = benchmark_ioi.tokenize(load_model(model, prepend_bos=False))
    assert without.clean.equal(benchmark_ioi.tokenize(model).clean[:, 1:])
    assert end not in load_task("ioi", n=4).tokenize(model).clean[:, 0]
    # A tokenizer that has a BOS, in a family that uses none by default.
    pythia = load_model(with_tokenizer(bridges["Pythia"], fast_words, True))
    asked = PairDataset((PAIR,), prepend_bos=True)
    assert asked.tokenize(pythia).clean.tolist() == [[BOS, 3, 17]]
    assert PairDataset((PAIR,)).tokenize(pythia).clean.tolist() == [[3, 17]]


def test_a_curve_on_the_benchmarks_data_is_the_benchmarks(tmp_path, qwen, benchmark_ioi):
    """Its definition in plain Hugging Face modules, from its rows, and its file of scores."""
    file = tmp_path / "importances.json"
    model = load_model(qwen)
    generator = torch.Generator().manual_seed(0)
    NodeScores(model.nodes, torch.randn(15, generator=generator), input=1.0).to_mib(
        file, d_model=32, parallel_attn_mlp=False
    )
    ks = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)
    graph = benchmark_reader.read(file)
    of_input, *of_nodes = (graph.scores[name] for name in graph.names)

    words = model.tl.tokenizer.get_vocab()
    rows = [json.loads(line) for line in (IOI / "train.jsonl").read_text().splitlines()]

    def curve(first: list[int]) -> list[float]:
        """One row at a time, nothing padded."""
        prompts = [
            [first + [words[word] for word in text.split()] for text in texts]
            for texts in zip(
                *[(r["prompt"], r["s2_io_flip_counterfactual"]["prompt"]) for r in rows],
                strict=True,
            )
        ]
        answers = [[words[r["metadata"][k]] for k in ("indirect_object", "subject")] for r in rows]
        lengths = torch.tensor([len(prompt) for prompt in prompts[0]])
        padded = [
            torch.tensor([p + [0] * (int(lengths.max()) - len(p)) for p in side])
            for side in prompts
        ]
        oracle = Oracle(tiny_model("Qwen-2.5", vocab_size=len(words)))
        pairs = (padded[0], padded[1], torch.tensor(answers), lengths)
        return oracle.faithfulness_mib(pairs, torch.tensor(of_nodes), of_input, ks).tolist()

    expected = curve([words["<|endoftext|>"]])
    scores = NodeScores.from_mib(file)
    mine = evaluate(model, benchmark_ioi, scores, protocol="mib", ks=ks, progress=False)
    assert mine.faithfulness == pytest.approx(expected, abs=1e-4)
    without = evaluate(
        load_model(qwen, prepend_bos=False), benchmark_ioi, scores, protocol="mib", ks=ks,
        progress=False,
    )  # fmt: skip
    assert without.faithfulness == pytest.approx(curve([]), abs=1e-4)
    assert max(abs(a - b) for a, b in zip(without.faithfulness, expected, strict=True)) > 0.01
