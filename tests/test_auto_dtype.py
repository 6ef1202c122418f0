"""`dtype="auto"`: bfloat16 where the hardware computes in it, and results say which it was."""

from __future__ import annotations

from contextlib import nullcontext
from types import MappingProxyType

import pytest
import torch
from typer.testing import CliRunner

from dfa_tl import (
    AlignmentConfig,
    NodeScores,
    align,
    attribute,
    controls,
    evaluate,
    load_model,
    load_task,
)
from dfa_tl.cli import app
from dfa_tl.errors import ConfigError, ModelError
from dfa_tl.models.placement import Placement, computes_in_bfloat16
from dfa_tl.settings import DTYPES
from dfa_tl.study import PairSpec, StudyConfig
from dfa_tl.study.evaluate_job import JOB_VERSIONS
from dfa_tl.study.inputs import model_hashes
from dfa_tl.study.plan import plan

CPU = torch.device("cpu")
FAST = ("amx_bf16", "avx512_bf16")


@pytest.fixture
def cpu(monkeypatch):
    """Sets what the CPU can do, on a machine without a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def able(*names: str) -> None:
        known = MappingProxyType({name: name in names for name in (*FAST, "avx512_f", "amx_tile")})
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)

    return able


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), torch.float32),
        (("avx512_f", "amx_tile"), torch.float32),
        (("amx_bf16",), torch.bfloat16),
        (("avx512_bf16",), torch.bfloat16),
    ],
    ids=str,
)
def test_on_a_cpu(cpu, names, expected):
    cpu(*names)
    assert Placement("auto").dtype == expected
    assert Placement("auto", device="cpu").dtype == expected
    assert Placement("auto", device_map={"": "cpu"}).dtype == expected
    assert Placement("auto", device_map="auto").dtype == expected
    assert Placement().dtype == Placement("float32").dtype == torch.float32


def test_an_old_pytorch_does_not_say_what_the_cpu_can_do(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not computes_in_bfloat16(CPU)


@pytest.mark.parametrize("able", [True, False])
def test_on_a_gpu(monkeypatch, able):
    entered = []

    def inside(device):
        entered.append(device)
        return nullcontext()

    def supported(including_emulation=True):
        return able or including_emulation

    monkeypatch.setattr(torch.cuda, "device", inside)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert computes_in_bfloat16(torch.device("cuda:1")) is able
    assert entered == [torch.device("cuda:1")]
    assert not computes_in_bfloat16(torch.device("mps"))


def test_a_wrong_name_is_answered_with_the_right_ones():
    with pytest.raises(ConfigError, match=r"choose one of float32, bfloat16, .*, auto"):
        Placement("half")
    with pytest.raises(ModelError, match="a live model is used as it is"):
        load_model(load_model("toy-small"), dtype="auto")


@pytest.mark.slow
def test_results_say_what_was_chosen(cpu):
    cpu("amx_bf16")
    model, data = load_model("toy-small", dtype="auto"), load_task("ioi", n=4)
    assert (model.dtype, model.dtype_name) == (torch.bfloat16, "bfloat16")
    scores = attribute(model, data, "nap", progress=False)
    settings = AlignmentConfig(epochs=1)
    alignment = align({"ioi": scores}, model, {"ioi": data}, settings, progress=False)
    results = (
        scores,
        alignment,
        alignment.transfer(scores),
        evaluate(model, data, scores, progress=False),
        controls.target_only(model, {"ioi": data}, settings, progress=False),
    )
    assert [each.provenance["dtype"] for each in results] == ["bfloat16"] * len(results)


def test_a_study_is_identified_by_the_precision_itself(cpu):
    def keys(dtype: str) -> set[str]:
        config = StudyConfig(
            pairs=(PairSpec("toy-small", "toy-large"),), tasks=("ioi", "mcqa"), dtype=dtype
        )
        assert StudyConfig.from_dict(config.to_dict()) == config
        return {job.key for job in plan(config, hashes, {}, dict(JOB_VERSIONS))}

    hashes = model_hashes(["toy-small", "toy-large"])
    full, half = keys("float32"), keys("bfloat16")
    assert full.isdisjoint(half)
    cpu()
    assert keys("auto") == full
    cpu(*FAST)
    assert keys("auto") == half


@pytest.mark.slow
def test_on_the_command_line(cpu, tmp_path):
    cpu("avx512_bf16")
    out = str(tmp_path / "scores.safetensors")
    command = f"attribute --model toy-small --task ioi --pairs 4 --method nap --quiet --out {out}"
    for dtype, expected in (("auto", "bfloat16"), ("float64", "float64")):
        result = CliRunner().invoke(app, [*command.split(), "--dtype", dtype])
        assert result.exit_code == 0, result.output
        assert NodeScores.load(out).provenance["dtype"] == expected
    result = CliRunner().invoke(app, [*command.split(), "--dtype", "half"])
    assert result.exit_code == 1
    assert f"choose one of {', '.join(DTYPES)}, auto" in result.output
