"""Files and scores that cannot be used: each has its message, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from dfa_tl import (
    Alignment,
    AlignmentChain,
    AlignmentConfig,
    NodeScores,
    NodeSet,
    controls,
    evaluate,
)
from dfa_tl.errors import (
    ConfigError,
    DFAError,
    FileFormatError,
    FileWriteError,
    HubError,
    ScoresError,
)
from dfa_tl.io import atomic
from dfa_tl.io import tensors as tensors_module
from dfa_tl.study import StudyResults

NODES = NodeSet(1, 2)
CFG = {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 4}
RAN = Path("ran-by-the-pickle")


def scores(**changes) -> NodeScores:
    return NodeScores(NODES, torch.tensor([1.0, -2, 3]), **({"input": 0.5} | changes))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def with_metadata(kind: str, path: Path, tensors: dict, version: int = 1, **metadata) -> Path:
    header = {"format": f"dfa_tl/{kind}/{version}", "metadata": json.dumps(metadata)}
    path.write_bytes(save(tensors, header))
    return path


SETTINGS = asdict(AlignmentConfig())


def scores_file(path: Path, values=None, **changes) -> Path:
    values = torch.tensor([1.0, -2, 3]) if values is None else values
    metadata = {"n_layers": 1, "n_heads": 2, "input": 0.5, "provenance": {}} | changes
    return with_metadata("scores", path, {"values": values}, **metadata)


def alignment_file(path: Path, tensors: dict | None = None, **changes) -> Path:
    metadata = {
        "source": [1, 2], "target": [1, 2], "config": SETTINGS, "provenance": {}, "tasks": None
    } | changes  # fmt: skip
    return with_metadata("alignment", path, {"W": torch.eye(3)} | (tensors or {}), **metadata)


def mib_json(path: Path, change: Callable[[dict], object] = lambda content: None) -> Path:
    names = ("input", "a0.h0", "a0.h1", "m0")
    content = {
        "cfg": dict(CFG),
        "nodes": {name: {"in_graph": False, "score": 1.0} for name in names},
        "edges": {},
    }
    content["nodes"]["logits"] = {"in_graph": True}
    change(content)
    path.write_text(json.dumps(content))
    return path


def mib_pt(path: Path, change: Callable[[dict], object] = lambda content: None) -> Path:
    content = {
        "cfg": dict(CFG),
        "src_nodes": ["input", "a0.h0", "a0.h1", "m0"],
        "dst_nodes": [*(f"a0.h{h}<{x}>" for x in "qkv" for h in (0, 1)), "m0", "logits"],
        "edges_scores": torch.zeros(4, 8),
        "edges_in_graph": torch.zeros(4, 8).bool(),
        "nodes_in_graph": torch.zeros(4).bool(),
        "nodes_scores": torch.ones(4),
    }
    change(content)
    torch.save(content, path)
    return path


class Payload:
    """Unpickled by a careless reader, it would write a file."""

    def __reduce__(self):
        return (Path.touch, (RAN,))


def pickled_code(path: Path) -> Path:
    return mib_pt(path, lambda content: content.update(cfg=Payload()))


def plain_pickle(path: Path) -> Path:
    path.write_bytes(pickle.dumps({"cfg": Payload()}))
    return path


def zip_bomb(path: Path) -> Path:
    """Small on the disk, large when it is read."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(300_000))
    return path


def altered(make: Callable[[Path], Path], change: Callable[[bytes], bytes]):
    def write(path: Path) -> Path:
        content = make(path).read_bytes()
        path.write_bytes(change(content))
        return path

    return write


def saved(path: Path) -> Path:
    scores().save(path)
    return path


def put(path: str, value: object):
    """A change of a nested dictionary, at `a/b/c`."""

    def change(content: dict) -> None:
        *above, last = path.split("/")
        for key in above:
            content = content[key]
        content[last] = value

    return change


def drop(path: str):
    def change(content: dict) -> None:
        *above, last = path.split("/")
        for key in above:
            content = content[key]
        del content[last]

    return change


def something_else(path: Path) -> Path:
    path.write_bytes(save({"W": torch.eye(2)}))
    return path


def nested_metadata(path: Path) -> Path:
    header = {"format": "dfa_tl/scores/1", "metadata": "[" * 3_800}
    path.write_bytes(save({"values": torch.zeros(3)}, header))
    return path


def deep(path: Path) -> Path:
    path.write_text("[" * 150_000)
    return path


def a_folder(path: Path) -> Path:
    path.mkdir()
    return path


def nothing(path: Path) -> Path:
    return path


def doubled(path: Path) -> Path:
    """A node with two scores, of which readers take one or the other."""
    content = mib_json(path).read_text().replace('"m0": {', '"m0": {"score": 9}, "m0": {')
    path.write_text(content)
    return path


def expanding(kind: type = list, depth: int = 20) -> object:
    """Few objects whose `repr` has a million entries."""
    found: object = ["x"]
    for _ in range(depth):
        found = kind([("a", found), ("b", found)]) if kind is OrderedDict else [found, found]
    return found


S, J, P = "s.safetensors", "i.json", "i.pt"
# name: (file name, what writes it, the class whose load or from_mib reads it, message)
BAD = {
    "missing file": (S, nothing, NodeScores, "no file .* expected a dfa_tl scores file"),
    "missing file of the benchmark": (P, nothing, "mib", r"no file .* a circuit file \(\.pt\)"),
    "folder instead of file": (S, a_folder, NodeScores, "is a folder; expected a dfa_tl scores"),
    "empty folder of the benchmark": ("x", a_folder, "mib", "should hold one .* it holds none"),
    "truncated file": (
        S, altered(saved, lambda c: c[:-3]), NodeScores, "truncated or altered, write it again"
    ),
    "empty file": (S, altered(saved, lambda c: b""), NodeScores, "truncated or altered"),
    "corrupted safetensors": (
        S, altered(saved, lambda c: c.replace(b'"F32"', b'"F99"')), NodeScores,
        "cannot be read as safetensors",
    ),
    "not safetensors": (S, altered(saved, lambda c: b"hello, world"), NodeScores, "cannot be read"),
    "header beyond the end": (
        S, altered(saved, lambda c: struct.pack("<Q", 2**40) + c[8:]), NodeScores, "cannot be read"
    ),
    "oversized header": (
        S, altered(saved, lambda c: struct.pack("<Q", 5000) + c[8:].ljust(6000)), NodeScores,
        "has a header of 5,000 bytes, and at most 4,000 are read",
    ),
    "oversized file": (
        S, lambda path: scores_file(path, torch.zeros(60_000)), NodeScores,
        "has 240,.* bytes, and a dfa_tl scores file has at most 200,000.* it was not read",
    ),
    "another kind of file": (
        S, alignment_file, NodeScores, "not a dfa_tl scores file but one of kind 'alignment'"
    ),
    "scores given as an alignment": (
        S, saved, Alignment, "not a dfa_tl alignment file but one of kind 'scores'"
    ),
    "an alignment given as a chain": (
        S, alignment_file, AlignmentChain, "not a dfa_tl alignment-chain file"
    ),
    "safetensors of something else": (
        S, something_else, NodeScores, "not a dfa_tl scores file: its header says 'nothing'"
    ),
    "wrong format version": (
        S, lambda path: with_metadata("scores", path, {}, version=9), NodeScores,
        "has version '9' of the scores format; this dfa_tl reads version 1: update dfa_tl",
    ),
    "metadata nested too deep": (
        S, nested_metadata, NodeScores, "the metadata of .* is not valid JSON"
    ),
    "no values": (
        S, lambda path: with_metadata("scores", path, {}, n_layers=1, n_heads=2), NodeScores,
        "does not hold valid node scores: 'values'",
    ),
    "wrong shape": (
        S, lambda path: scores_file(path, torch.zeros(4)), NodeScores,
        r"expected one score for each of 3 nodes .* got shape \(4,\)",
    ),
    "a matrix of scores": (
        S, lambda path: scores_file(path, torch.zeros(3, 1)), NodeScores, "must be a vector"
    ),
    "whole numbers for scores": (
        S, lambda path: scores_file(path, torch.arange(3)), NodeScores, "must be a vector"
    ),
    "a score that is NaN": (
        S, lambda path: scores_file(path, torch.tensor([1, math.nan, 2])), NodeScores,
        r"scores must be finite, but these are not: a0\.h1",
    ),
    "an infinite score of the input": (
        S,
        lambda path: scores_file(path, input=math.inf),
        NodeScores,
        "Infinity is not a JSON number",
    ),
    "text for the score of the input": (
        S, lambda path: scores_file(path, input="0.5"), NodeScores, "must be a number or null"
    ),
    "a model without heads": (
        S, lambda path: scores_file(path, n_heads=0), NodeScores,
        "n_heads must be a whole number from 1, got 0",
    ),
    "more nodes than any model has": (
        S, lambda path: scores_file(path, n_layers=10**15), NodeScores, "which no model has"
    ),
    "a provenance that is a list": (
        S, lambda path: scores_file(path, provenance=[]), NodeScores, "provenance must be a dict"
    ),
    "unscored nodes that are not there": (
        S, lambda path: scores_file(path, unscored=["m7"]), NodeScores, "no node m7 among 3 nodes"
    ),
    "unscored nodes that are a text": (
        S, lambda path: scores_file(path, unscored="m0"), NodeScores, "must be a list of names"
    ),
    "W of other nodes": (
        S, lambda path: alignment_file(path, target=[2, 2]), Alignment,
        "W must be 3 source by 6 target nodes",
    ),
    "W that is not finite": (
        S, lambda path: alignment_file(path, {"W": torch.eye(3) / 0}), Alignment, "W must be finite"
    ),
    "a bias of another shape": (
        S, lambda path: alignment_file(path, {"bias": torch.zeros(2)}), Alignment,
        "one entry for each of 3 target nodes",
    ),
    "unknown tensors": (
        S, lambda path: alignment_file(path, {"V": torch.zeros(2)}), Alignment,
        r"an alignment has no tensors called \['V'\]",
    ),
    "whole numbers in W": (
        S, lambda path: alignment_file(path, {"W": torch.ones(3, 3).int()}), Alignment,
        "W must hold numbers, it holds torch.int32",
    ),
    "unknown settings": (
        S, lambda path: alignment_file(path, config=SETTINGS | {"colour": 1}), Alignment, "colour"
    ),
    "settings that are not finite": (
        S, lambda path: alignment_file(path, config=SETTINGS | {"temperature": math.nan}),
        Alignment, "NaN is not a JSON number",
    ),
    "a history of another length": (
        S,
        lambda path: alignment_file(
            path, {k: torch.zeros(3) for k in ("loss", "kl", "mean_mask")}, tasks=["ioi"]
        ),
        Alignment,
        "loss of the history must be 1 finite numbers",
    ),
    "a chain that does not meet": (
        S,
        lambda path: with_metadata(
            "alignment-chain", path, {"0.W": torch.eye(3), "1.W": torch.ones(6, 3)},
            steps=[
                {"source": a, "target": [1, 2], "config": SETTINGS, "provenance": {}, "tasks": None}
                for a in ([1, 2], [2, 2])
            ],
        ),
        AlignmentChain,
        "alignment 1 of the chain ends at 3 nodes",
    ),
    "not JSON": (J, altered(mib_json, lambda c: c[:-9]), "mib", "it is not valid JSON"),
    "JSON nested too deep": (J, deep, "mib", "it is not valid JSON"),
    "JSON with a node twice": (J, doubled, "mib", "the key 'm0' occurs twice"),
    "JSON that is a list": (J, altered(mib_json, lambda c: b"[]"), "mib", "must be a dictionary"),
    "JSON without nodes": (J, lambda p: mib_json(p, drop("nodes")), "mib", "it lacks nodes; it"),
    "JSON with missing nodes": (
        J, lambda p: mib_json(p, drop("nodes/a0.h1")), "mib",
        r"1 nodes are missing, among them 'a0\.h1'; its cfg says 3 nodes",
    ),
    "JSON without the input": (
        J, lambda p: mib_json(p, drop("nodes/input")), "mib", "missing, among them 'input'"
    ),
    "JSON with unknown nodes": (
        J, lambda p: mib_json(p, put("nodes/m1", {"score": 1.0})), "mib",
        "1 nodes are unknown, among them 'm1'",
    ),
    "JSON with wrong cfg": (
        J, lambda p: mib_json(p, put("cfg/n_heads", 3)), "mib", r"missing, among them 'a0\.h2'"
    ),
    "JSON with cfg that lacks the width": (
        J, lambda p: mib_json(p, drop("cfg/d_model")), "mib", "cfg lacks d_model; it has 'n_layers'"
    ),
    "JSON with text in cfg": (
        J, lambda p: mib_json(p, put("cfg/n_layers", "1")), "mib",
        "n_layers must be a whole number from 1, got '1'",
    ),
    "JSON with a number for true": (
        J, lambda p: mib_json(p, put("cfg/parallel_attn_mlp", 0)), "mib", "must be true or false"
    ),
    "JSON with endless layers": (
        J, lambda p: mib_json(p, put("cfg/n_layers", 10**12)), "mib", "which no model has"
    ),
    "JSON with an infinite score": (
        J, lambda p: mib_json(p, put("nodes/m0/score", math.inf)), "mib",
        "score of m0 must be a finite number, or NaN for none; got inf",
    ),
    "JSON with a score beyond numbers": (
        J, lambda p: mib_json(p, put("nodes/m0/score", 10**400)), "mib", "must be a finite number"
    ),
    "JSON with text for a score": (
        J, lambda p: mib_json(p, put("nodes/m0/score", "1")), "mib", "got '1'"
    ),
    "JSON of a graph with scored edges": (
        J, lambda p: mib_json(p, lambda c: [node.pop("score", 0) for node in c["nodes"].values()]),
        "mib", "it has no scores of nodes; NodeScores cannot hold those of edges",
    ),
    "pt with pickled code": (P, pickled_code, "mib", "pickled objects or code, which are never"),
    "pt that is a plain pickle": (P, plain_pickle, "mib", "altered, or not by torch.save"),
    "pt that is truncated": (P, altered(mib_pt, lambda c: c[:-99]), "mib", "truncated"),
    "pt that is corrupted": (
        P, altered(mib_pt, lambda c: c.replace(b"nodes_scores", b"nodes_scorex")), "mib",
        "is not a graph with scores of nodes",
    ),
    "pt that grows when read": (P, zip_bomb, "mib", "it holds 300,000 bytes; 200,000 at most"),
    "pt of a graph with scored edges": (
        P, lambda p: mib_pt(p, drop("nodes_scores")), "mib", "it has no scores of nodes"
    ),
    "pt without cfg": (P, lambda p: mib_pt(p, drop("cfg")), "mib", "it lacks cfg; it has 'src"),
    "pt with names in another order": (
        P, lambda p: mib_pt(p, put("src_nodes", ["input", "m0", "a0.h0", "a0.h1"])), "mib",
        "src_nodes must be in the model's order",
    ),
    "pt with names that are none": (
        P, lambda p: mib_pt(p, put("src_nodes", [0, 1, 2, 3])), "mib", "must be a list of names"
    ),
    "pt with scores of another shape": (
        P, lambda p: mib_pt(p, put("nodes_scores", torch.zeros(6))), "mib",
        r"nodes_scores must be a vector of 4 numbers, .* got \(6,\)",
    ),
    "pt with a list for scores": (
        P, lambda p: mib_pt(p, put("nodes_scores", [1.0] * 4)), "mib", "got list"
    ),
    "pt with sparse scores": (
        P, lambda p: mib_pt(p, put("nodes_scores", torch.ones(4).to_sparse())), "mib", "got Tensor"
    ),
    "pt with an endless view": (
        P, lambda p: mib_pt(p, put("nodes_scores", torch.ones(1).expand(10**12))), "mib",
        r"vector of 4 numbers, .* got \(1000000000000,\)",
    ),
    "pt with infinite scores": (
        P, lambda p: mib_pt(p, put("nodes_scores", torch.ones(4) / 0)), "mib", "finite number"
    ),
    "pt with nothing scored": (
        P, lambda p: mib_pt(p, put("nodes_scores", torch.full((4,), math.nan))), "mib",
        "it has no scores of nodes",
    ),
    "pt with a width that expands when shown": (
        P, lambda p: mib_pt(p, put("cfg/d_model", expanding())), "mib",
        "d_model must be a whole number from 1, got ",
    ),
    "pt with layers that expand when shown": (
        P, lambda p: mib_pt(p, put("cfg/n_layers", expanding(OrderedDict))), "mib",
        "n_layers must be a whole number from 1, got ",
    ),
    "pt with a flag that expands when shown": (
        P, lambda p: mib_pt(p, put("cfg/parallel_attn_mlp", expanding())), "mib",
        "parallel_attn_mlp must be true or false in cfg, got ",
    ),
    "pt with a name that goes on and on": (
        P, lambda p: mib_pt(p, put("src_nodes", ["a" * 50_000])), "mib", "4 nodes are missing"
    ),
    "no study": ("x", a_folder, StudyResults, "does not describe a study"),
}  # fmt: skip


@pytest.fixture
def low_limits(monkeypatch):
    monkeypatch.setattr(atomic, "MAX_BYTES", 200_000)
    monkeypatch.setattr(tensors_module, "MAX_HEADER_BYTES", 4_000)


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name, tmp_path, monkeypatch, low_limits, unchecked):
    file_name, write, kind, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / file_name)
    before = snapshot(tmp_path)
    read = NodeScores.from_mib if kind == "mib" else kind.load
    with pytest.raises(FileFormatError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert snapshot(tmp_path) == before
    assert not RAN.exists(), "the file's code was run"


def test_the_pickle_would_run_its_code(tmp_path, monkeypatch):
    """In a careless reader; so its refusal above is worth something."""
    monkeypatch.chdir(tmp_path)
    torch.load(pickled_code(tmp_path / "i.pt"), weights_only=False)
    assert RAN.exists()


def test_the_files_that_the_bad_ones_are_made_of_are_good(tmp_path, low_limits):
    assert NodeScores.load(scores_file(tmp_path / "s"))["m0"] == 3
    assert NodeScores.load(scores_file(tmp_path / "s", input=2)).input == 2
    assert Alignment.load(alignment_file(tmp_path / "a")).W.trace() == 3
    for path in (mib_json(tmp_path / "i.json"), mib_pt(tmp_path / "i.pt")):
        assert NodeScores.from_mib(path).values.tolist() == [1, 1, 1]


# Scores of another model


OTHER = NodeSet(2, 2)


def evaluated(llama):
    return lambda given: evaluate(llama.model, llama.data, given, progress=False)


WRONG_MODEL = {
    "scores of another model to evaluate": lambda llama: (evaluated(llama), scores()),
    "scores of another model to transfer": lambda llama: (
        controls.random_W(OTHER, NODES).transfer, scores()
    ),
    "scores of another model to a mask": lambda llama: (
        controls.random_W(OTHER, NODES).mask, scores()
    ),
    "scores of another model to a chain": lambda llama: (
        controls.random_W(OTHER, NODES).then(controls.random_W(NODES, OTHER)).transfer, scores()
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_MODEL)
def test_scores_of_another_model(name, llama):
    use, given = WRONG_MODEL[name](llama)
    with pytest.raises(ScoresError, match=r"these scores belong to another model \(3 nodes .* has"):
        use(given)


def test_alignments_that_do_not_meet():
    one, other = controls.random_W(NODES, OTHER), controls.random_W(NODES, OTHER)
    with pytest.raises(ConfigError, match="each must start where the one before ends"):
        one.then(other)


# Saves that fail


def alignment() -> Alignment:
    return controls.random_W(NODES, NODES)


SAVES: dict[str, Callable[[Path], object]] = {
    "scores": lambda path: scores().save(path),
    "benchmark json": lambda path: scores().to_mib(path, d_model=4, parallel_attn_mlp=False),
    "alignment": lambda path: alignment().save(path),
    "chain": lambda path: alignment().then(alignment()).save(path),
}
NAMES = {"scores": S, "benchmark json": J, "alignment": S, "chain": S}


@pytest.mark.parametrize("name", SAVES)
@pytest.mark.parametrize("there", [False, True], ids=["new", "over another"])
def test_a_save_on_a_full_disk_leaves_the_folder_as_it_was(name, there, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / NAMES[name]
    if there:
        SAVES[name](path)
    before = snapshot(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        FileWriteError, match=r"cannot be written \(No space left on device\): give"
    ):
        SAVES[name](path)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", SAVES)
def test_a_save_to_a_folders_name(name, tmp_path):
    path = tmp_path / NAMES[name]
    (path / "inside").mkdir(parents=True)
    with pytest.raises(FileWriteError, match="cannot be written"):
        SAVES[name](path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", SAVES)
def test_a_save_below_a_file(name, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileWriteError, match="cannot be written"):
        SAVES[name](tmp_path / "file" / NAMES[name])
    assert snapshot(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("provenance", [{"model": object()}, {"loop": []}], ids=["object", "loop"])
def test_provenance_that_cannot_be_said_in_json(provenance, tmp_path):
    if "loop" in provenance:
        provenance["loop"].append(provenance["loop"])
    for given in (scores(provenance=provenance), replace(alignment(), provenance=provenance)):
        with pytest.raises(FileFormatError, match=r"cannot be written as JSON .*: keep to text"):
            given.save(tmp_path / S)
    assert snapshot(tmp_path) == {}


def test_what_could_not_be_read_again_is_not_written(tmp_path, low_limits):
    with pytest.raises(FileWriteError, match=r"would have .* bytes and could not be read again"):
        scores(provenance={"notes": "x" * 5_000}).save(tmp_path / S)
    assert snapshot(tmp_path) == {}


def test_every_one_is_an_error_of_the_package():
    assert all(issubclass(kind, DFAError) for kind in (FileFormatError, FileWriteError, HubError))
