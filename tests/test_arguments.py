"""Every public function refuses every wrong kind of argument, in words.

The functions are found by their public names. For each there is a call that is right, made from the
tables below by the names of its parameters; then each parameter in turn takes each wrong value.
Whether a value is wrong is asked of beartype, which the package itself does not use.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from beartype import BeartypeConf
from beartype.door import is_bearable

import dfa_tl
import dfa_tl.analysis
import dfa_tl.report
import dfa_tl.study
import dfa_tl.viz
from dfa_tl import (
    AlignmentConfig,
    NodeScores,
    NodeSet,
    PairDataset,
    PairSpec,
    StudyConfig,
    align,
    attention_patterns,
    attribute,
    controls,
    evaluate,
    load_task,
    run_study,
)
from dfa_tl.arguments import HINTS, checked_arguments
from dfa_tl.attribution.registry import register_method
from dfa_tl.controls import register_control
from dfa_tl.errors import AlignmentWarning, ConfigError, DFAError
from dfa_tl.evaluation import task_check as report
from dfa_tl.tasks.metrics import logit_diff
from dfa_tl.tasks.registry import register_task
from test_paper_files import matrix

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread")

TOWER = BeartypeConf(is_pep484_tower=True)
QUICK = StudyConfig(
    pairs=(PairSpec("toy-small", "toy-small"),),
    tasks=("ioi", "arc_easy"),
    methods=("nap",),
    regimes=("zero-shot", "cross-task"),
    controls=("uniform_s",),
    train_pairs=2,
    test_pairs=2,
    few_pairs_methods=(),
    grids=("mib",),
    variants={"default": AlignmentConfig(epochs=1)},
    resamples=100,
)


def public_callables() -> dict[str, object]:
    """Functions, constructors and methods by name: `attribute`, `NodeScores`, `NodeScores.top`."""
    found: dict[str, object] = {}
    modules = {dfa_tl: dfa_tl.__all__, dfa_tl.viz: dfa_tl.viz.__all__}
    modules[dfa_tl.study] = dfa_tl.study.__all__
    modules[dfa_tl.report] = dfa_tl.report.__all__
    modules[dfa_tl.analysis] = [n for n in dfa_tl.analysis.__all__ if n != "Table"]
    modules[controls] = [
        name
        for name in vars(controls)
        if inspect.isfunction(getattr(controls, name)) and not name.startswith("register_")
    ]
    for module, names in modules.items():
        for name in names:
            value = getattr(module, name)
            if inspect.isfunction(value):
                found[name] = value
            elif inspect.isclass(value) and not issubclass(value, Exception):
                found[name] = value
                for method in dir(value):
                    if method != "__getitem__" and method[0] == "_":
                        continue
                    raw = inspect.getattr_static(value, method)
                    if inspect.isfunction(raw) or isinstance(raw, (classmethod, staticmethod)):
                        found[f"{name}.{method}"] = raw
    return found


CALLABLES = public_callables()
# Keywords that stand for any number of settings, which the class they go to checks.
SETTINGS_OF_OTHERS = {"AlignmentConfig.paper"}
# They reach the hub; offline, the call that is right ends in a HubError.
ON_HUB = {name for name in CALLABLES if name.endswith((".push_to_hub", ".from_hub"))}


class Things:
    """What right calls are made of."""

    def __init__(self, model, folder):
        self.model = model
        self.nodes = model.nodes
        self.data = load_task("ioi", n=2)
        self.pair = self.data.pairs[0]
        self.scores = attribute(model, self.data, "nap", progress=False)
        self.config = AlignmentConfig(epochs=1)
        self.alignment = align(
            {"ioi": self.scores}, model, {"ioi": self.data}, self.config, progress=False
        )
        self.curve = evaluate(model, self.data, self.scores, progress=False)
        self.patterns = attention_patterns(model, self.pair, self.scores.top(12))
        self.results = run_study(QUICK, folder / "study", progress=False)
        self.tokens = self.data.tokenize(model)
        self.figure = dfa_tl.viz.score_map(self.scores)
        self.scores.save(folder / "scores.safetensors")
        self.alignment.save(folder / "alignment.safetensors")
        self.alignment.then(self.alignment).save(folder / "chain.safetensors")
        self.mib = self.scores.to_mib(folder / "scores.json")
        self.paper = folder / "alignment_matrix__small_to_large.pt"
        torch.save(matrix(), self.paper)
        self.yaml = folder / "study.yaml"
        self.yaml.write_text("pairs: [{source: toy-small, target: toy-small}]\n")
        self.table = folder / "pairs.csv"
        self.table.write_text("clean,corrupt,answer,wrong_answer\na b,a c, d, e\n")
        self.job = self.results.evaluations[0]
        self.folder = folder

    def instance(self, name):
        return {
            "Alignment": self.alignment,
            "AlignmentConfig": self.config,
            "AlignmentChain": self.alignment.then(self.alignment),
            "AlignmentHistory": self.alignment.history,
            "HeldOut": dfa_tl.HeldOut(self.model, {"ioi": self.scores}, {"ioi": self.data}),
            "AttentionPatterns": self.patterns,
            "FaithfulnessCurve": self.curve,
            "Node": self.nodes[0],
            "NodeModel": self.model,
            "NodeScores": self.scores,
            "NodeSet": self.nodes,
            "PairDataset": self.data,
            "PairSpec": QUICK.pairs[0],
            "PromptPair": self.pair,
            "StudyConfig": QUICK,
            "StudyResults": self.results,
        }.get(name)

    def values(self, label):
        """A right value for each parameter of a function."""
        model, scores, data = self.model, self.scores, self.data
        history = self.alignment.history
        mapping = {"ioi": scores}
        common = {
            "ablation": "counterfactual",
            "absolute": False,
            "aligned": scores,
            "alignment": self.alignment,
            "against": "uniform_s",
            "alt": "a figure",
            "answer": " Mary",
            "answers": self.tokens.answers,
            "at": "clean",
            "attention": {"heads": self.patterns},
            "bands": None,
            "batch_size": 2,
            "batches": [(["a"], ["b"], [[1, 2]])],
            "bias": None,
            "by": "cmd",
            "body": "<div></div>",
            "cache": "auto",
            "check": None,
            "check_every": 10,
            "clean": self.tokens.clean,
            "columns": None,
            "config": self.config,
            "corrupt": self.tokens.corrupt,
            "curve": self.curve,
            "d_model": 64,
            "data": data,
            "device": None,
            "device_map": None,
            "dtype": None,
            "executor": None,
            "pieces": 2,
            "figure": self.figure,
            "folder": self.folder / "study",
            "gold": scores,
            "grid": None,
            "height": None,
            "held_out": None,
            "history": history,
            "ig_steps": 1,
            "initializer": None,
            "input": None,
            "job": "evaluate",
            "k": 0.1,
            "ks": (0.5, 1.0),
            "lengths": self.tokens.lengths,
            "log_k": None,
            "method": "nap",
            "metric": logit_diff,
            "metrics": None,
            "model": model,
            "n": 2,
            "n_batches": 3,
            "n_heads": 4,
            "n_layers": 3,
            "n_links": 3,
            "name": "ioi",
            "nodes": self.nodes,
            "offline": None,
            "other": self.alignment,
            "out_dir": self.folder / "study",
            "pair": None,
            "panels": self.curve,
            "parallel_attn_mlp": False,
            "patience": None,
            "patterns": self.patterns,
            "penalty": 1.0,
            "position": 0,
            "prepend_bos": None,
            "private": None,
            "progress": False,
            "protocol": "nodes",
            "provenance": {},
            "reference": None,
            "regime": "zero-shot",
            "regimes": ("gold",),
            "repo_id": "user/name",
            "result": {},
            "results": self.results,
            "resume": None,
            "revision": None,
            "scale": 1.0,
            "scores": scores,
            "seed": 0,
            "source": self.nodes,
            "source_scores": scores,
            "split": "train",
            "start": 0.5,
            "target": self.nodes,
            "target_scores": scores,
            "task": "arc_easy",
            "title": "",
            "tl": model.tl,
            "sizes": None,
            "token": None,
            "tokenizer": model,
            "tokens": None,
            "transferred": scores,
            "unscored": (),
            "values": scores.values,
            "view": None,
            "width": None,
            "workers": 1,
        }
        special = {
            "HeldOut": {"target": model, "scores": mapping, "data": {"ioi": data}},
            "Alignment": {"W": self.alignment.W},
            "Alignment.from_paper": {"path": self.paper},
            "Alignment.load": {"path": self.folder / "alignment.safetensors"},
            "AlignmentChain": {"steps": (self.alignment,)},
            "AlignmentChain.load": {"path": self.folder / "chain.safetensors"},
            "AlignmentConfig": {name: getattr(self.config, name) for name in vars(self.config)},
            "AlignmentHistory": {name: getattr(history, name) for name in vars(history)},
            "AttentionPatterns": {n: getattr(self.patterns, n) for n in vars(self.patterns)},
            "FaithfulnessCurve": {
                "ks": self.curve.ks,
                "n_kept": self.curve.n_kept,
                "pair_values": self.curve.pair_values,
                "clean": self.curve.clean,
                "corrupt": self.curve.corrupt,
                "empty": None,
                "metric": "logit_diff",
            },
            "Node": {"layer": 0, "head": 0},
            "Node.parse": {"name": "a0.h0"},
            "NodeModel.answer_tokens": {"answer": " 30"},
            "NodeModel.hook_point": {"site": "hook_embed"},
            "NodeModel.last_logits": {
                "tokens": self.tokens.clean,
                "mask": torch.ones_like(self.tokens.clean, dtype=torch.bool),
                "last": self.tokens.lengths - 1,
            },
            "NodeModel.prompt_tokens": {"prompt": self.pair.clean},
            "NodeModel.token_texts": {"tokens": self.tokens.clean[0]},
            "NodeScores.__getitem__": {"node": "a0.h0"},
            "NodeScores.from_mib": {"path": self.mib},
            "NodeScores.from_transformer_lens": {
                "result": scores.to_transformer_lens(transformer_lens_node)
            },
            "NodeScores.load": {"path": self.folder / "scores.safetensors"},
            "NodeScores.to_mib": {"path": "scores.json"},
            "NodeScores.to_transformer_lens": {"node": transformer_lens_node},
            "NodeSet.index": {"node": "a0.h0"},
            "PairDataset": {
                "pairs": data.pairs, "on_invalid": "raise", "answer_rule": "one-token",
                "limit": None, "left_out": (),
            },
            "PairDataset.__getitem__": {"rows": slice(0, 1)},
            "PairSpec": {"source": "toy-small", "target": "toy-large", "via": ()},
            "PromptPair": {
                "clean": "a b", "corrupt": "a c", "answer": " d", "wrong_answer": " e",
                "as_long": (),
            },
            "StudyConfig": {name: getattr(QUICK, name) for name in vars(QUICK)},
            "StudyConfig.from_dict": {"settings": QUICK.to_dict()},
            "StudyConfig.from_yaml": {"path": self.yaml},
            "StudyResults": {
                "config": QUICK, "model_hashes": {}, "data_hashes": {}, "job_versions": {},
                "failures": (),
            },
            "StudyResults.manifest": {"job": self.job},
            "StudyResults.save": {"path": "copy"},
            "unbounded_tasks": {"pair": QUICK.pairs[0].name},
            "write_tables": {"folder": "tables"},
            "write_report": {"path": "report.html"},
            "AlignmentConfig.passes": {"pairs": [8, 4]},
            "align": {"target": model, "start": None},
            "attention_patterns": {"pair": self.pair, "nodes": ["a0.h0"]},
            "evaluate_many": {"scores": mapping},
            "load_model": {"model": "toy-small"},
            "load_task": {"path": None},
            "read_pairs": {"source": self.table, "on_invalid": "raise"},
            "estimate_study": {"config": QUICK},
            "nearest_task": {"source_scores": mapping},
            "run_study": {"config": QUICK},
            "target_only": {"target": model},
            "save_figure": {"path": "figure.html"},
            "study_curves": {"seed": None, "bands": False},
        }  # fmt: skip
        if label.startswith("StudyResults."):
            common |= {"pair": QUICK.pairs[0].name, "alignment": None}
        if label.endswith(".save"):
            common["path"] = "saved.safetensors"
        return common | special.get(label, {})


def transformer_lens_node(**fields):
    from transformer_lens.tools.analysis.attribution_patching import Node

    return Node(**fields)


@pytest.fixture(scope="module")
def things(toy_small, tmp_path_factory):
    return Things(toy_small, tmp_path_factory.mktemp("things"))


@pytest.fixture(scope="module")
def wrong(things):
    """Values of every kind, each of them wrong for most parameters."""
    other = NodeSet(2, 2)
    return {
        "None": None,
        "3.5": 3.5,
        "nonsense": "nonsense",
        "empty text": "",
        "bytes": b"nonsense",
        "object": object(),
        "list of objects": [object()],
        "list of numbers": [1, "two"],
        "empty list": [],
        "dict of objects": {"ioi": object()},
        "dict of wrong keys": {3: things.scores},
        "empty mapping": {},
        "True": True,
        "-1": -1,
        "-0.5": -0.5,
        "huge": 10**30,
        "NaN": math.nan,
        "infinity": math.inf,
        "numpy bool": np.True_,
        "array": np.zeros((2, 3)),
        "tensor": torch.zeros(2, 3),
        "NaN tensor": torch.full((15,), math.nan),
        "bare model": things.model.tl,
        "NodeModel": things.model,
        "data": things.data,
        "empty data": PairDataset((), name="ioi"),
        "scores of another model": NodeScores(other, torch.zeros(6)),
        "alignment": things.alignment,
        "chain": things.alignment.then(things.alignment),
        "a class": NodeScores,
        "a function": len,
    }


# Right by the annotation, but the call would never end.
ENDLESS = {("attribute", "ig_steps", "huge"), ("load_task", "n", "huge")}
# What other tests are about: pairs one by one (test_bad_data), tensors that run through a model.
ELSEWHERE = {
    ("PairDataset", "pairs"),
    ("NodeModel.last_logits", "*"),
    ("PromptPair", "*"),
    ("check", "reference"),
}
# Their messages say what is wrong in other words than the name of the argument.
OWN_WORDS = {
    ("NodeModel", "tl"),
    ("PairDataset.__getitem__", "rows"),
    ("PairDataset.from_eap_ig", "batches"),
    ("StudyConfig", "tasks"),
    ("attention_patterns", "nodes"),
    ("load_model", "device_map"),
}
# Functions of the user's own: what they raise is theirs.
OF_THE_USER = ("metric", "node", "executor", "check")
# Not what the annotation says, and taken all the same: (function or *, parameter, value).
TAKEN = {
    # Lists, and a single name, stand for tuples of names in settings.
    ("StudyConfig", "*", "nonsense"),
    ("PairSpec", "via", "nonsense"),
    ("*", "*", "empty list"),
}


def signature_of(label):
    function = CALLABLES[label]
    function = getattr(function, "__func__", function)
    target = function.__init__ if inspect.isclass(function) else function
    parameters = inspect.signature(target).parameters
    module = sys.modules[inspect.unwrap(target).__module__]
    if inspect.isclass(function):
        module = sys.modules[function.__module__]
    known = vars(module) | vars(dfa_tl) | vars(report)
    return {
        name: (eval(p.annotation, known), p.default)
        for name, p in parameters.items()
        if name not in ("self", "cls") and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


def bound(label, things):
    """The function, ready to be called: a method of an instance of its class."""
    owner, _, method = label.rpartition(".")
    if not owner:
        return CALLABLES[label]
    instance = things.instance(owner)
    return getattr(getattr(dfa_tl, owner) if instance is None else instance, method)


def right_call(label, things):
    values = things.values(label)
    return {name: values[name] for name in signature_of(label)}


@pytest.mark.slow
@pytest.mark.parametrize("label", [label for label in CALLABLES if label not in ON_HUB])
def test_the_right_call_is_right(label, things, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bound(label, things)(**right_call(label, things))


def is_taken(label, parameter, kind):
    places = [(a, b, kind) for a in (label, "*") for b in (parameter, "*")]
    return any(place in TAKEN for place in places)


@pytest.mark.slow
@pytest.mark.parametrize("label", CALLABLES)
@pytest.mark.filterwarnings("ignore")
def test_wrong_arguments_are_refused(label, things, wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, right = bound(label, things), right_call(label, things)
    problems = []
    for parameter, (annotation, _) in signature_of(label).items():
        for kind, value in wrong.items():
            if (label, parameter, kind) in ENDLESS or ELSEWHERE & {
                (label, parameter),
                (label, "*"),
            }:
                continue
            # numpy's True is no bool to beartype, and as good as one.
            known = bool(value) if kind == "numpy bool" else value
            fits = is_bearable(known, annotation, conf=TOWER)
            where = f"{label}({parameter}={kind})"
            try:
                call(**{**right, parameter: value})
            except DFAError as error:
                if (
                    not fits
                    and (label, parameter) not in OWN_WORDS
                    and not re.search(rf"\b{parameter}\b", str(error))
                ):
                    problems.append(f"{where}: does not name the argument: {error}")
            except IndexError:  # what a sequence raises, by Python's own rules
                if not label.endswith("__getitem__"):
                    raise
            except Exception as error:
                if not (fits and parameter in OF_THE_USER):
                    problems.append(f"{where}: {type(error).__name__}: {error}"[:200])
            else:
                if not fits and not is_taken(label, parameter, kind):
                    problems.append(f"{where}: was taken")
    assert not problems, "\n".join(problems)


@pytest.mark.slow
@pytest.mark.parametrize("label", [x for x in CALLABLES if (x, "*") not in ELSEWHERE])
def test_swapped_arguments_are_refused(label, things, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, right = bound(label, things), right_call(label, things)
    kinds = {name: annotation for name, (annotation, _) in signature_of(label).items()}
    names = list(right)
    for one, other in pairwise(names):
        swapped = {**right, one: right[other], other: right[one]}
        if all(is_bearable(swapped[name], kinds[name], conf=TOWER) for name in (one, other)):
            continue
        with pytest.raises(DFAError):
            call(**swapped)


@pytest.mark.parametrize("label", CALLABLES)
def test_unknown_and_missing_names(label, things):
    call, right = bound(label, things), right_call(label, things)
    if label not in SETTINGS_OF_OTHERS:
        with pytest.raises(TypeError, match=r"no argument 'nonsense'|unexpected keyword"):
            call(**right, nonsense=3)
    for name, (_, default) in signature_of(label).items():
        if default is inspect.Parameter.empty:
            with pytest.raises(TypeError, match=name):
                call(**{other: value for other, value in right.items() if other != name})


def test_hints_are_of_classes_that_are_there():
    names = set(HINTS) - {"Results"}  # the protocol of StudyResults
    assert names <= set(dfa_tl.__all__)


def test_messages_say_what_was_expected_what_came_and_what_to_do(things, wrong):
    with pytest.raises(ConfigError) as error:
        attribute(things.model.tl, things.data)
    assert str(error.value) == (
        "attribute(model=...): expected a NodeModel, got a TransformerBridge. To get it: "
        f"{HINTS['NodeModel']}"
    )
    with pytest.raises(ConfigError, match=r"a FaithfulnessCurve or a mapping .* got {'a': "):
        dfa_tl.viz.faithfulness_curves({"a": things.scores})
    with pytest.raises(TypeError, match="no argument 'lr'; did you mean 'learning_rate'"):
        AlignmentConfig(lr=0.1)
    with pytest.raises(TypeError, match="no argument 'temprature'; did you mean 'temperature'"):
        AlignmentConfig(temprature=1.0)
    with pytest.raises(TypeError, match="no argument 'lr'; did you mean 'learning_rate'"):
        AlignmentConfig.paper(lr=0.1)
    with pytest.raises(TypeError, match="no argument 'step'"):
        attribute(things.model, things.data, step=3)


def test_a_single_task_needs_no_mapping(things):
    model, data, scores = things.model, things.data, things.scores
    quick = {"config": things.config, "progress": False}
    one = controls.target_only(model, data, **quick)
    same = controls.target_only(model, {"ioi": data}, **quick)
    assert one.provenance == same.provenance
    assert torch.equal(one.values, same.values)
    assert torch.equal(align(scores, model, data, **quick).W, things.alignment.W)
    assert align(scores, model, data, **quick).provenance["tasks"] == ["ioi"]
    assert torch.equal(
        controls.mean_scores(scores).values, controls.mean_scores({"ioi": scores}).values
    )
    assert torch.equal(
        controls.regression(scores, scores).W,
        controls.regression({"ioi": scores}, {"ioi": scores}).W,
    )
    with pytest.raises(ConfigError, match="scores are for one task, but the data are for 2"):
        align(scores, model, {"a": data, "b": data}, **quick)


@pytest.mark.slow
def test_a_short_training_warns(things):
    with pytest.warns(AlignmentWarning, match=r"only 1 steps; .* Set steps to 100 or more"):
        align(things.scores, things.model, things.data, things.config, progress=False)
    with pytest.warns(AlignmentWarning, match="only 49 steps"):
        controls.target_only(
            things.model, things.data, replace(things.config, steps=49, epochs=None), progress=False
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        align(things.scores, things.model, things.data, AlignmentConfig(steps=50), progress=False)


def test_numbers_of_numpy_and_lists_are_taken(things):
    @checked_arguments
    def f(n: int, x: float, ks: tuple[float, ...]) -> None: ...

    f(np.int64(3), np.float32(2), [1, 2])
    f(torch.tensor(3), 2, np.linspace(0, 1, 3))
    for bad in ({"n": True}, {"n": 2.0}, {"x": "2"}, {"x": True}, {"ks": "12"}, {"ks": [None]}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            f(**{"n": 1, "x": 1.0, "ks": (1.0,), **bad})


@pytest.mark.parametrize("register", [register_control, register_method, register_task])
def test_only_records_are_registered(register, things):
    for value in (None, "nonsense", things.scores):
        with pytest.raises(ConfigError, match=r"control|method|task"):
            register(value)
