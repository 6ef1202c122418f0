"""Files as the paper's code writes them: circuits with N + 2 scores, W, and results."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path

import pytest
import torch

from dfa_tl import MIB_KS, Alignment, AlignmentConfig, NodeScores, NodeSet
from dfa_tl.errors import FileFormatError
from dfa_tl.io.paper import GRID, read_result

SMALL, LARGE = NodeSet(2, 2), NodeSet(3, 1)
META = {
    "kind": "aligned", "method_base": "EAP-IG-inputs", "small_model": "llama3-1b",
    "large_model": "llama3-3b", "train_mode": "LOO_ioi", "train_tasks": ["mcqa", "arc_easy"],
    "control": "none", "ablation": "patching", "level": "node", "epochs": 3, "lr": 0.1,
    "batch_size": 1, "lambda_sparse": 0.1, "seed": 0, "heuristic": "",
}  # fmt: skip
CURVE = [0.0, 0.0, 0.0, 0.125, 0.25, 0.5, 0.5, 0.75, 1.25, 1.0]


def matrix(**changes: object) -> dict:
    content = {
        "W": torch.arange(36.0).view(6, 6)[:, : len(LARGE)],
        "small_nodes": list(SMALL.names),
        "large_nodes": list(LARGE.names),
        "meta": dict(META),
    }
    return content | changes


def result(**changes: object) -> dict:
    content = {
        "weighted_edge_counts": [float(n) for n in range(10)],
        "area_under": 0.875,
        "area_from_1": 0.25,
        "average": sum(CURVE) / 10,
        "faithfulnesses": CURVE,
        "raw_scores": {
            "baseline_score": 3.5, "corrupted_score": -2.0, "ablated_scores": CURVE,
            "percentages": MIB_KS,
        },
        "meta": {"task": "ioi", "model": "llama3-3b", "split": "test", "absolute": False},
    }  # fmt: skip
    return content | changes


def pickled(path: Path, content: object, protocol: int | None = None) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("input_score", [0.0, float("nan"), -0.5])
def test_a_circuit_with_a_score_of_the_logits(tmp_path, input_score):
    """Its copy of EAP-IG counts N + 2 sources of edges, but names N + 1."""
    values = torch.arange(6.0)
    names = ["input", *SMALL.names]
    n_to = 2 * (3 * 2 + 1) + 1
    torch.save(
        {
            "cfg": {"n_layers": 2, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8},
            "src_nodes": names,
            "dst_nodes": [],
            "edges_scores": torch.zeros(8, n_to),
            "edges_in_graph": torch.zeros(8, n_to).bool(),
            "nodes_in_graph": torch.zeros(8).bool(),
            "nodes_scores": torch.tensor([input_score, *values, 99.0]),
        },
        tmp_path / "importances.pt",
    )
    scores = NodeScores.from_mib(tmp_path)
    assert torch.equal(scores.values, values)
    assert scores.input == (None if input_score != input_score else input_score)
    assert scores.unscored == ()


@pytest.mark.parametrize("n", [6, 9])
def test_other_numbers_of_scores_are_refused(tmp_path, n):
    content = {
        "cfg": {"n_layers": 2, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8},
        "src_nodes": ["input", *SMALL.names],
        "dst_nodes": [],
        "edges_in_graph": torch.zeros(8, 15).bool(),
        "nodes_in_graph": torch.zeros(8).bool(),
        "nodes_scores": torch.zeros(n),
    }
    torch.save(content, tmp_path / "s.pt")
    with pytest.raises(FileFormatError, match=rf"of 7 numbers, or 8 with the logits, got \({n},\)"):
        NodeScores.from_mib(tmp_path / "s.pt")


def test_a_matrix(tmp_path):
    path = tmp_path / "alignment_matrix__llama3-1b_to_llama3-3b.pt"
    torch.save(matrix(), path)
    alignment = Alignment.from_paper(path)
    assert torch.equal(alignment.W, matrix()["W"])
    assert (alignment.source, alignment.target) == (SMALL, LARGE)
    assert alignment.config == AlignmentConfig.paper()
    assert alignment.provenance["tasks"] == ["mcqa", "arc_easy"]
    assert "control" not in alignment.provenance
    scores = NodeScores(SMALL, torch.arange(6.0))
    carried = alignment.transfer(scores)
    assert torch.equal(carried.values, torch.arange(6.0) @ matrix()["W"])
    assert carried.provenance["model"] == "llama3-3b"
    alignment.save(tmp_path / "w.safetensors")
    assert torch.equal(Alignment.load(tmp_path / "w.safetensors").W, alignment.W)


def test_a_matrix_of_a_control_with_other_settings(tmp_path):
    meta = META | {"control": "permuted_W", "lr": 0.01, "epochs": 10, "lambda_sparse": 0.5}
    torch.save(matrix(meta=meta, W=matrix()["W"].bfloat16()), tmp_path / "w.pt")
    alignment = Alignment.from_paper(tmp_path / "w.pt")
    assert alignment.provenance["control"] == "permuted_W"
    assert alignment.config == AlignmentConfig.paper(learning_rate=0.01, epochs=10, sparsity=0.5)
    assert alignment.W.dtype == torch.float32


SMALLER = NodeSet(1, 2)
BAD_MATRICES = {
    "transposed": (
        {"W": torch.zeros(6, 3), "small_nodes": list(SMALLER.names)},
        r"3 small by 6 large nodes, got \(6, 3\): it is transposed",
    ),
    "another shape": ({"W": torch.zeros(6, 5)}, r"6 small by 6 large nodes, got \(6, 5\)$"),
    "a vector": ({"W": torch.zeros(6)}, r"got \(6,\)"),
    "whole numbers": ({"W": torch.zeros(6, 6).long()}, "W must be a matrix of numbers"),
    "not finite": ({"W": torch.full((6, 6), torch.nan)}, "W must be finite"),
    "no names": ({"small_nodes": []}, "small_nodes must end with the last MLP"),
    "other names": ({"large_nodes": ["layer0"]}, "large_nodes must end with the last MLP"),
    "another order": ({"small_nodes": sorted(SMALL.names)}, "in the model's order"),
    "settings that make no sense": ({"meta": META | {"lr": -1}}, "learning_rate=-1"),
    "meta that is no dictionary": ({"meta": [1]}, "meta must be a dictionary"),
}


@pytest.mark.parametrize("case", BAD_MATRICES)
def test_bad_matrices(tmp_path, case):
    change, message = BAD_MATRICES[case]
    torch.save(matrix(**change), tmp_path / "w.pt")
    with pytest.raises(FileFormatError, match=message):
        Alignment.from_paper(tmp_path / "w.pt")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_result(tmp_path, protocol):
    assert GRID == MIB_KS
    found = read_result(pickled(tmp_path / "ioi_llama3-3b_test_abs-False.pkl", result(), protocol))
    assert found.ks == MIB_KS
    assert found.faithfulness == tuple(CURVE)
    assert (found.cpr, found.cmd, found.clean, found.empty) == (0.875, 0.25, 3.5, -2.0)
    assert found.meta["task"] == "ioi"
    assert list(found.to_frame()["faithfulness"]) == CURVE


def test_a_result_of_the_benchmark_has_no_raw_scores(tmp_path):
    content = result()
    del content["raw_scores"], content["meta"]
    found = read_result(pickled(tmp_path / "r.pkl", content))
    assert (found.ks, found.clean, found.meta) == (MIB_KS, None, {})


class Harm:
    """What a file from somewhere may hold."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("read", [read_result, Alignment.from_paper, NodeScores.from_mib])
@pytest.mark.parametrize("make", [pickled, lambda path, content: torch.save(content, path)])
def test_code_in_a_file_is_not_run(tmp_path, read, make):
    made = tmp_path / "made"
    path = tmp_path / "harm.pt"
    make(path, result(meta=Harm(made)) | matrix(meta=Harm(made)))
    with pytest.raises(FileFormatError):
        read(path)
    assert not made.exists()


BAD_RESULTS = {
    "an object": (result(meta=collections.OrderedDict(a=1)), "pickled objects or code"),
    "a tensor": (result(area_under=torch.tensor(0.5)), "pickled objects or code"),
    "no curve": ({"TPR": [0.0], "FPR": [0.0]}, "lacks faithfulnesses, area_under, area_from_1"),
    "a list": ([1.0], "its content must be a dictionary"),
    "not finite": (result(faithfulnesses=[float("nan")] * 10), "must be finite numbers"),
    "too few": (result(faithfulnesses=[0.5]), "1 faithfulnesses at 10 proportions"),
}


@pytest.mark.parametrize("case", BAD_RESULTS)
def test_bad_results(tmp_path, case):
    content, message = BAD_RESULTS[case]
    with pytest.raises(FileFormatError, match=message):
        read_result(pickled(tmp_path / "r.pkl", content))


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_a_truncated_result(tmp_path, cut):
    path = pickled(tmp_path / "r.pkl", result())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FileFormatError, match="truncated, altered, or no pickle"):
        read_result(path)
