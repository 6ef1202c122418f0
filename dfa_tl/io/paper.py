"""Files of the paper's code: its alignment matrices and its results. No code in them is ever run.

    alignment_matrix__{small}_to_{large}.pt             W as it was trained, or initialised
    inference_alignment_matrix__{small}_to_{large}.pt   W that the circuits were predicted with: a
                                                        control may permute or replace W
        W (small large), small_nodes, large_nodes (names), meta (the settings of the run)
    {task}_{model}_{split}_abs-{True or False}.pkl      a result: faithfulnesses, area_under (CPR),
                                                        area_from_1 (CMD), meta, and raw_scores
                                                        (the metric in its runs) in later files

Its circuits are files of the benchmark's form (`dfa_tl.io.mib`), with one more score in the .pt,
for the logits. A result is a pickle of numbers and text, and is read only if it holds nothing else.

Source: github.com/jasonshaoshun/dfa-circuits, `run_dat.py` and `run_evaluation.py`.
"""

from __future__ import annotations

import math
import pickle
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.display import shown
from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.io.atomic import readable
from dfa_tl.io.foreign import load_torch_file, require, table
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.io.tensors import node_set
from dfa_tl.nodes import Node, NodeSet

GRID = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The proportions of a result that does not state its own."""
MAX_RESULT_BYTES = 2**20
"""Largest result that is read, about a hundred times the usual size."""
PLAIN_DATA = frozenset(
    """
    PROTO FRAME STOP MARK MEMOIZE BINPUT BINGET LONG_BINGET NONE NEWTRUE NEWFALSE BININT BININT1
    BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND
    APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    """.split()
)
"""The pickle instructions that build only numbers, text, lists and dictionaries."""


class PaperMatrix(NamedTuple):
    """W as the paper's code saves it, with the settings of its run."""

    W: Float[Tensor, "source target"]
    source: NodeSet
    target: NodeSet
    meta: dict[str, Any]


@dataclass(frozen=True)
class PaperResult:
    """An evaluation by the paper's code.

    Attributes:
        ks: Proportions of nodes kept.
        faithfulness: f at each of them.
        cpr: Area under f.
        cmd: Area under |1 - f|.
        meta: What was measured: task, model, method, control, split, ...
        clean: Mean metric of the clean run; None where the file lacks it.
        empty: Mean metric where f = 0; None where the file lacks it.
    """

    ks: tuple[float, ...]
    faithfulness: tuple[float, ...]
    cpr: float
    cmd: float
    meta: Mapping[str, Any]
    clean: float | None = None
    empty: float | None = None

    def to_frame(self) -> pd.DataFrame:
        """One row per proportion: `k`, `faithfulness`."""
        return pd.DataFrame({"k": self.ks, "faithfulness": self.faithfulness})


def read_matrix(path: str | Path) -> PaperMatrix:
    """Read an `alignment_matrix__*.pt`.

    Raises:
        FileFormatError: the file does not exist, is of another format or holds code, or the shape
            of its W does not fit its nodes.
    """
    path = readable(path, "an alignment matrix of the paper's code (.pt)")
    try:
        content = table(load_torch_file(path), "its content")
        require(content, ("W", "small_nodes", "large_nodes"), "it")
        source = _nodes(content["small_nodes"], "small_nodes")
        target = _nodes(content["large_nodes"], "large_nodes")
        meta = dict(table(content.get("meta", {}), "meta"))
        json_bytes(meta, "meta")
        W, shape = content["W"], (len(source), len(target))
        if not isinstance(W, Tensor) or W.layout != torch.strided or not W.is_floating_point():
            raise FileFormatError(f"W must be a matrix of numbers, got {type(W).__name__}")
        if tuple(W.shape) != shape:
            turned = tuple(W.shape) == shape[::-1]
            raise FileFormatError(
                f"W must be {shape[0]} small by {shape[1]} large nodes, got {tuple(W.shape)}"
                f"{': it is transposed' if turned else ''}"
            )
        if not W.isfinite().all():
            raise FileFormatError("W must be finite")
    except FileFormatError as error:
        raise FileFormatError(f"{path} is not an alignment matrix: {error}") from error
    return PaperMatrix(W, source, target, meta)


def _nodes(names: object, what: str) -> NodeSet:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FileFormatError(f"{what} must be a list of names")
    try:
        last = Node.parse(names[-1])
        nodes = node_set(last.layer + 1, len(names) // (last.layer + 1) - 1)
    except (IndexError, ConfigError) as error:
        raise FileFormatError(f"{what} must end with the last MLP: {error}") from error
    if tuple(names) != nodes.names:
        raise FileFormatError(f"{what} must be each layer's heads and MLP, in the model's order")
    return nodes


def read_result(path: str | Path) -> PaperResult:
    """Read a result of the paper's, or the benchmark's, `run_evaluation.py`.

    Raises:
        FileFormatError: the file does not exist, has no curve, or holds more than numbers and text
            (which is refused before it is read).
    """
    path = readable(path, "a result of the paper's code (.pkl)", MAX_RESULT_BYTES)
    try:
        content = table(_plain_pickle(path.read_bytes()), "its content")
        require(content, ("faithfulnesses", "area_under", "area_from_1"), "it")
        raw = table(content.get("raw_scores", {}), "raw_scores")
        ks = _numbers(raw.get("percentages", GRID), "percentages")
        faithfulness = _numbers(content["faithfulnesses"], "faithfulnesses")
        if len(ks) != len(faithfulness):
            raise FileFormatError(
                f"it has {len(faithfulness)} faithfulnesses at {len(ks)} proportions"
            )
        one = {
            name: _numbers([found[name]], name)[0]
            for found, names in (
                (content, ("area_under", "area_from_1")),
                (raw, ("baseline_score", "corrupted_score") if raw else ()),
            )
            for name in names
            if name in found
        }
        return PaperResult(
            ks,
            faithfulness,
            one["area_under"],
            one["area_from_1"],
            dict(table(content.get("meta", {}), "meta")),
            one.get("baseline_score"),
            one.get("corrupted_score"),
        )
    except FileFormatError as error:
        raise FileFormatError(f"{path} is not a result with a curve: {error}") from error


def _plain_pickle(content: bytes) -> object:
    """The numbers, text, lists and dictionaries of a pickle that has nothing else."""
    try:
        used = {code.name for code, _, _ in pickletools.genops(content)}
        if used <= PLAIN_DATA:
            return pickle.loads(content)
    except Exception as error:  # what an altered file makes the reader raise is not documented
        raise FileFormatError(f"it is truncated, altered, or no pickle ({error})") from error
    raise FileFormatError(
        "it holds pickled objects or code, which are never run "
        f"({', '.join(sorted(used - PLAIN_DATA)[:5])}); only numbers and text are read"
    )


def _numbers(found: object, what: str) -> tuple[float, ...]:
    if not isinstance(found, (list, tuple)) or not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        for value in found
    ):
        raise FileFormatError(f"{what} must be finite numbers, got {shown(found)}")
    return tuple(map(float, found))
