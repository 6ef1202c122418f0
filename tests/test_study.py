"""Studies: the plan, resuming, faults, executors. The study is tiny: 2 tasks, 8 pairs, 1 epoch."""

from __future__ import annotations

import errno
import os
import random
import shutil
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from dfa_tl import (
    AlignmentConfig,
    NodeScores,
    PairDataset,
    analysis,
    evaluate,
    load_model,
    load_task,
)
from dfa_tl.controls import CONTROLS
from dfa_tl.controls.regimes import Regime
from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.evaluation.curve import MIB_KS
from dfa_tl.report import page
from dfa_tl.seeds import seed_of
from dfa_tl.study import PairSpec, StudyConfig, StudyResults, local_pool, run, run_study
from dfa_tl.study import inputs as inputs_module
from dfa_tl.study.inputs import data_hashes, model_hashes
from dfa_tl.study.job import Job
from dfa_tl.study.jobs import AlignJob, AttributeJob
from dfa_tl.study.keys import CircuitKey
from dfa_tl.study.plan import plan
from dfa_tl.study.store import TEMPORARY, StorageError

PAIR = PairSpec("toy-small", "toy-large")
TASKS = ("arithmetic_addition", "ioi")  # of two families
RELATED = {TASKS[0]: TASKS[1:], TASKS[1]: TASKS[:1]}
SMALL = StudyConfig(
    pairs=(PAIR,),
    tasks=TASKS,
    methods=("nap",),
    train_pairs=8,
    test_pairs=6,
    draws=2,
    few_pairs_methods=("nap",),
    few_pairs_sizes=(1, 2, 4),
    few_pairs_draws=1,
    variants={"default": AlignmentConfig(epochs=1)},
    grids=("mib",),
    resamples=100,
    relations=RELATED,
    random_draws=2,
)
# For faults, where what is measured does not matter.
TINY = replace(
    SMALL, regimes=("zero-shot",), controls=("random_W", "uniform_s"), few_pairs_methods=()
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> StudyResults:
    torch.set_num_threads(1)
    results = run_study(SMALL, tmp_path_factory.mktemp("study"), progress=False)
    assert not results.failures
    return results


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> StudyResults:
    torch.set_num_threads(1)
    return run_study(TINY, tmp_path_factory.mktemp("tiny"), progress=False)


def texts(results: StudyResults, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in analysis.write_tables(results, folder)}


def missing_jobs(config: StudyConfig, folder: Path) -> list[Job]:
    return StudyResults(folder, config, model_hashes([PAIR.source, PAIR.target])).missing


def results_of(results: StudyResults) -> list[Path]:
    return sorted(path.parent for path in results.folder.glob("jobs/*/*/manifest.json"))


def test_every_regime_and_control_has_its_rows(study):
    rows = study.frame()
    found = rows.groupby("regime")["test_task"].nunique()
    suffixed = ("in-distribution", "near-distribution", "leave-task-out", "all")
    matched = {f"uniform_s ({name})" for name in suffixed}
    assert set(found.index) == {"gold", "few-pairs", *Regime, *CONTROLS, *matched}
    assert (found == 2).all()
    zero_shot = rows[(rows["regime"] == "zero-shot") & (rows["test_task"] == TASKS[0])]
    assert zero_shot["train_tasks"].tolist() == [TASKS[1]]
    for draw in ("scrambled_s", "permuted_W", "random_W"):
        assert set(rows[rows["regime"] == draw]["draw"]) == {0, 1}
    assert (rows["cpr_low"] <= rows["cpr_high"]).all()
    assert (rows["n"] == 6).all()
    assert study.missing == []


def test_rows_are_what_plain_calls_give(study):
    """A gold circuit's row against attribute and evaluate, called by hand."""
    from dfa_tl import attribute

    target = load_model("toy-large")
    gold = attribute(target, load_task(TASKS[0], n=8, seed=0), "nap", batch_size=32, progress=False)
    test = load_task(TASKS[0], split="test", n=6, seed=0)
    curve = evaluate(target, test, gold, ks=MIB_KS, batch_size=32, progress=False)
    rows = study.frame()
    row = rows[(rows["regime"] == "gold") & (rows["test_task"] == TASKS[0])].iloc[0]
    assert row["cpr"] == pytest.approx(curve.cpr, abs=1e-5)
    assert row["m_clean"] == pytest.approx(curve.clean.mean(), abs=1e-4)
    gold_key = CircuitKey("gold", "", (TASKS[0],), 8)
    saved = study.scores(PAIR.name, TASKS[0], "nap")[gold_key]
    torch.testing.assert_close(saved.values, gold.values)
    again = study.curves(PAIR.name, TASKS[0], "nap")[gold_key]
    assert again.cpr == pytest.approx(row["cpr"], abs=1e-12)


def test_costs_are_paid_once_or_per_task(study):
    rows = study.frame()
    zero_shot = rows[(rows["regime"] == "zero-shot")].iloc[0]
    assert zero_shot["pair_target_forward"] == AlignmentConfig(epochs=1).passes([8]).forward
    assert zero_shot["task_target_forward"] == 0
    assert zero_shot["task_source_forward"] == zero_shot["pair_source_forward"] == 8 * 2


def test_a_second_run_does_nothing(study, monkeypatch):
    monkeypatch.setattr("dfa_tl.study.run.run_job", None)
    again = run_study(SMALL, study.folder, progress=False)
    pd.testing.assert_frame_equal(again.frame(), study.frame())
    loaded = StudyResults.load(study.folder)
    assert loaded.config == SMALL
    pd.testing.assert_frame_equal(loaded.frame(), study.frame())


def test_tables(study, tmp_path, monkeypatch):
    tables = analysis.all_tables(study)
    monkeypatch.setattr(analysis, "all_tables", lambda results: tables)  # made once, for `texts`
    assert set(tables) == set(
        "levels leaderboard control_levels overall source_effect effect_by_choice recovery "
        "cross_task sensitivity structure break_even".split()
    )
    leaderboard = tables["leaderboard"].frame
    means = study.frame()
    gold = means[(means["regime"] == "gold")].set_index("test_task")["cpr"]
    row = leaderboard[leaderboard["setting"] == "Gold"].iloc[0]
    assert row["average"] == pytest.approx(gold.mean())
    effect = tables["source_effect"].frame
    assert (effect["difference"] == effect["zero-shot"] - effect["uniform_s"]).all()
    assert (effect["p (Holm)"] >= effect["p"]).all()
    overall = tables["overall"].frame.set_index("against")
    assert set(overall.index) == {"gold", *CONTROLS}
    assert overall["difference"]["uniform_s"] == pytest.approx(effect["difference"].mean())
    assert overall["better"]["uniform_s"] == (effect["difference"] > 0).sum()
    assert (overall[["tasks", "families", "seeds"]] == [2, 2, 1]).all().all()
    # Of two families, the limits are the extremes of the resamples.
    assert overall["low"]["uniform_s"] <= effect["difference"].min()
    assert overall["high"]["uniform_s"] >= effect["difference"].max()
    break_even = tables["break_even"].frame
    for _, line in break_even.iterrows():
        sizes = {int(name.split()[-1]): line[name] for name in line.index if name[:3] == "CPR"}
        enough = [
            size
            for size in sizes
            if all(cpr >= line["zero-shot"] for other, cpr in sizes.items() if other >= size)
        ]
        needed = line["pairs needed"]
        assert (needed is pd.NA) if not enough else needed == min(enough)
    for name, content in texts(study, tmp_path).items():
        assert content, name
    markdown = tables["leaderboard"].to_markdown()
    assert "| DFA (zero-shot) |" in markdown
    assert r"\bottomrule" in tables["break_even"].to_latex()


@pytest.mark.slow
def test_sd_is_over_seeds_of_the_average_over_tasks(tmp_path):
    results = run_study(replace(TINY, seeds=(0, 1)), tmp_path, progress=False)
    table = analysis.leaderboard(results).frame.set_index("setting")
    rows = results.frame()
    zero_shot = rows[rows["regime"] == "zero-shot"]
    by_hand = [zero_shot[zero_shot["seed"] == seed]["cpr"].mean() for seed in (0, 1)]
    assert table["sd"]["DFA (zero-shot)"] == pytest.approx(pd.Series(by_hand).std())
    assert table["average"]["DFA (zero-shot)"] == pytest.approx(sum(by_hand) / 2)


@pytest.mark.slow
def test_views_are_varied_one_at_a_time(tmp_path):
    config = replace(
        TINY, tasks=TASKS[:1], regimes=("in-distribution",), controls=("random_W",),
        protocols=("nodes", "mib"), rankings=("signed", "absolute"),
        metrics=("logit_diff", "kl"), grids=("mib", "linear"),
    )  # fmt: skip
    rows = run_study(config, tmp_path, progress=False).frame()
    ways = rows[["protocol", "ranking", "metric"]].drop_duplicates()
    assert len(ways) == 4
    assert set(rows["grid"]) == {"mib", "linear"}
    by_draw = rows[rows["regime"] == "random_W"].groupby("draw")["metric"].nunique()
    assert by_draw.to_dict() == {0: 2, 1: 1}


@pytest.mark.slow
def test_a_chain_composes_its_alignments(tmp_path):
    chain = PairSpec("toy-small", "toy-large", via=("toy-small",))
    config = replace(TINY, pairs=(chain,), controls=("permuted_W", "uniform_s"), draws=1)
    results = run_study(config, tmp_path, progress=False)
    assert not results.failures
    scores = results.scores(chain.name, TASKS[0], "nap")
    assert len(scores[CircuitKey("zero-shot", "default", (TASKS[1],), 8)].nodes) == 42


@pytest.mark.slow
def test_benchmark_tasks(tmp_path, monkeypatch):
    """Names with a slash go through jobs, tables and curves; here the data are generated ones."""
    monkeypatch.setattr(
        inputs_module,
        "load_task",
        lambda name, **options: load_task(name.removeprefix("mib/"), **options),
    )
    tasks = tuple(f"mib/{task}" for task in TASKS)
    variants = {"two": AlignmentConfig(epochs=1, source_vectors=2)}
    config = replace(
        TINY,
        tasks=tasks,
        regimes=("near-distribution",),
        controls=("mean_gold",),
        variants=variants,
        relations={tasks[0]: tasks[1:], tasks[1]: tasks[:1]},
    )
    results = run_study(config, tmp_path, progress=False)
    assert results.missing == []
    assert config.related == {tasks[0]: (tasks[1],), tasks[1]: (tasks[0],)}
    rows = results.frame()
    assert set(rows[rows["regime"] == "near-distribution"]["train_tasks"]) == set(tasks)
    key = CircuitKey("near-distribution", "two", (tasks[1],), 8)
    assert key in results.curves(PAIR.name, tasks[0], "nap")


@pytest.mark.slow
def test_bootstrapped_source_vectors(tmp_path):
    """W trained on several vectors per task, each of pairs drawn with replacement."""
    from dfa_tl import align, attribute

    variants = {"two": AlignmentConfig(epochs=1, source_vectors=2)}
    config = replace(TINY, tasks=TASKS, controls=(), variants=variants)
    results = run_study(config, tmp_path, progress=False)
    source, target = load_model("toy-small"), load_model("toy-large")
    pairs, vectors = load_task(TASKS[1], n=8, seed=0), []
    for vector in range(2):
        rng = random.Random(seed_of("vector", 0, vector))
        rows = rng.choices(range(8), k=8)
        drawn = PairDataset(tuple(pairs.pairs[row] for row in rows), name=TASKS[1])
        vectors.append(attribute(source, drawn, "nap", batch_size=32, progress=False))
    plain = AlignmentConfig(epochs=1)
    W = align({TASKS[1]: vectors}, target, {TASKS[1]: pairs}, plain, progress=False)
    known = attribute(source, load_task(TASKS[0], n=8, seed=0), "nap", progress=False)
    key = CircuitKey("zero-shot", "two", (TASKS[1],), 8)
    found = results.scores(PAIR.name, TASKS[0], "nap")[key]
    torch.testing.assert_close(found.values, W.transfer(known).values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (1,)},
        {"train_pairs": 7},
        {"test_pairs": 5},
        {"methods": ("nap-ig-inputs",)},
        {"variants": {"default": AlignmentConfig(epochs=2)}},
        {"ablation": "zero"},
        {"dtype": "bfloat16"},
        {"prepend_bos": True},
        {"prepend_bos": False},
        {"resamples": 101},
    ],
)
def test_a_changed_setting_makes_new_jobs(tiny, change):
    changed = replace(TINY, **change)
    assert missing_jobs(TINY, tiny.folder) == []
    assert any(job.kind == "evaluate" for job in missing_jobs(changed, tiny.folder))


def test_pairs_for_attribution_are_part_of_what_identifies_results(tiny):
    """As many as for training is the default; another number makes new scores."""
    same = replace(TINY, attribution_pairs=TINY.train_pairs)
    assert missing_jobs(same, tiny.folder) == []
    fewer = missing_jobs(replace(TINY, attribution_pairs=3), tiny.folder)
    assert {job.kind for job in fewer} >= {"attribute", "align", "evaluate"}
    assert not any(isinstance(job, AlignJob) and job.stand_in for job in fewer)


def test_another_model_under_the_same_name_makes_new_jobs(tiny, monkeypatch):
    monkeypatch.setattr("dfa_tl.study.inputs._folder_hash", lambda folder: "other")
    assert len(missing_jobs(TINY, tiny.folder)) == len(results_of(tiny))


def test_what_does_not_decide_results_is_left_out(tiny):
    assert missing_jobs(replace(TINY, batch_size=3, device="cpu"), tiny.folder) == []


@pytest.mark.slow
def test_disk_full(tmp_path, monkeypatch):
    """The disk fills at some write: the error says so, and nothing half-written counts."""
    left = [9]
    plain = os.fsync

    def full(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        run_study(TINY, tmp_path / "full", progress=False)
    monkeypatch.setattr(os, "fsync", plain)
    partial = StudyResults.load(tmp_path / "full")
    assert len(partial.missing) > 0
    assert not list((tmp_path / "full" / TEMPORARY).iterdir())
    again = run_study(TINY, tmp_path / "full", progress=False)
    assert again.missing == []


@pytest.mark.slow
def test_a_failing_job_is_tried_twice_and_reported(tiny, tmp_path, monkeypatch):
    calls = []
    plain = AlignJob.run

    def failing(job, store):
        if job.tasks == (TASKS[0],) and job.stand_in is None:
            calls.append(job)
            raise RuntimeError("the lights went out")
        return plain(job, store)

    monkeypatch.setattr(AlignJob, "run", failing)
    results = run_study(TINY, tmp_path / "failing", progress=False)
    assert len(calls) == 2
    kinds = {failure.job.split("(")[0]: failure for failure in results.failures}
    assert set(kinds) == {"align", "evaluate"}
    assert "the lights went out" in kinds["align"].traceback
    assert "left out: it needs align" in kinds["evaluate"].traceback
    rows = results.frame()
    assert set(rows[rows["method"] == "nap"]["test_task"]) == {TASKS[0]}  # trained on the other
    monkeypatch.undo()
    mended = run_study(TINY, tmp_path / "failing", progress=False)
    assert texts(mended, tmp_path / "a") == texts(tiny, tmp_path / "b")


@pytest.mark.slow
def test_a_job_that_fails_once_is_done(tmp_path, monkeypatch):
    plain, failed = AttributeJob.run, []

    def once(job, store):
        if not failed:
            failed.append(job)
            raise RuntimeError("once")
        return plain(job, store)

    monkeypatch.setattr(AttributeJob, "run", once)
    results = run_study(TINY, tmp_path, progress=False)
    assert failed
    assert not results.failures
    assert results.missing == []


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with local_pool(2) as pool:
        results = run_study(TINY, tmp_path / "pool", pool, progress=False)
    assert texts(results, tmp_path / "a") == texts(tiny, tmp_path / "b")


@pytest.mark.slow
def test_a_study_that_goes_on_elsewhere_says_so(tiny, tmp_path, monkeypatch):
    assert all(len(counts) == 1 for counts in tiny.made_with.values())
    assert tiny.dates
    assert not page._notices(tiny)
    folder = tmp_path / "study"
    shutil.copytree(tiny.folder, folder)
    shutil.rmtree(results_of(StudyResults.load(folder))[-1])
    elsewhere = {**run._versions(), "hardware": "another processor"}
    monkeypatch.setattr(run, "_versions", lambda: elsewhere)
    results = run_study(tiny.config, folder, progress=False)
    assert results.made_with["hardware"]["another processor"] == 1
    (sentence, listing), *others = page._notices(results)
    assert sentence.startswith("Results were made with different hardware.")
    assert not others
    assert "hardware another processor: 1 job" in listing


@pytest.mark.slow
def test_submitit(tiny, tmp_path):
    submitit = pytest.importorskip("submitit")
    executor: Executor = submitit.AutoExecutor(tmp_path / "logs", cluster="local")
    results = run_study(TINY, tmp_path / "submitit", executor, progress=False, pieces=1)
    assert texts(results, tmp_path / "a") == texts(tiny, tmp_path / "b")


def test_pages_name_a_folder_by_its_own_name():
    assert PairSpec("/models/small", "../big", via=("~/middle",)).label == "small -> middle -> big"
    assert PairSpec("meta-llama/Llama-3.2-1B", "toy-large").label == (
        "meta-llama/Llama-3.2-1B -> toy-large"
    )
    assert PairSpec("/one/model", "/two/model").label == "/one/model -> /two/model"
    assert PairSpec("/one/model", "/one/model").label == "model -> model"


def test_config_round_trips_through_yaml(tmp_path):
    config = replace(
        SMALL, pairs=(PAIR, PairSpec("toy-large", "toy-small")), relations={"ioi": ("mcqa",)}
    )
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    assert StudyConfig.from_yaml(file) == config


def test_one_name_stands_for_a_list_of_one(unchecked):
    """A text is one task or model, not its letters."""
    settings = SMALL.to_dict() | {"relations": {TASKS[0]: TASKS[1]}}
    built = replace(SMALL, relations={TASKS[0]: TASKS[1]})
    assert StudyConfig.from_dict(settings) == built
    assert built.related == {TASKS[0]: (TASKS[1],), TASKS[1]: ()}
    # Of no task of the study's: allowed, and of no use.
    assert replace(SMALL, relations={"ioi": "mcqa"}).related == {task: () for task in TASKS}
    assert PairSpec("a", "b", via="gpt2") == PairSpec("a", "b", via=("gpt2",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ("chess",)}, "unknown task 'chess'"),
        ({"methods": ()}, "methods: give at least one"),
        ({"seeds": (0, 0)}, "seeds: give at least one value, each once"),
        ({"train_pairs": 0}, "train_pairs=0"),
        ({"train_pairs": "most"}, "train_pairs='most': must be a whole number .* or 'all'"),
        ({"attribution_pairs": 0}, "attribution_pairs=0: must be .* or None for train_pairs"),
        ({"train_pairs": "all"}, "give attribution_pairs"),
        ({"train_pairs": "all", "attribution_pairs": 4}, "is generated without end"),
        ({"pairs": ()}, "at least one pair"),
        ({"test_split": "train"}, "choose one of test, validation"),
        ({"variants": {}}, "at least one alignment"),
        ({"variants": {"a": AlignmentConfig(seed=3)}}, "the seed is the study's"),
        ({"pairs": ({"source": "a", "target": "b"},)}, "expected PairSpec"),
        ({"resamples": 39}, "39 resamples do not reach the tails of a 0.95 interval: take at"),
        ({"level": 0.999}, "100 resamples do not reach the tails of a 0.999 interval"),
        (
            {"methods": ("nap", "nap-ig-inputs"), "ablation": "zero"},
            "nap-ig-inputs .* between the corrupt and the clean.* "
            "takes only ablation='counterfactual', not 'zero'",
        ),
        (
            {"few_pairs_methods": ("nap-ig-inputs",), "ablation": "mean"},
            "takes only ablation='counterfactual', not 'mean'",
        ),
        ({"relations": {"ioi": "chess"}}, "unknown task 'chess'"),
        ({"relations": {"ioi": 3}}, "relations: expected names, got 3"),
    ],
)
def test_a_config_that_makes_no_sense(change, message, unchecked):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": {"a": {"epoch": 3}}}, "epoch"),
        ({"pairs": [{"source": "a"}]}, "a pair is"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    with pytest.raises(ConfigError, match=message):
        StudyConfig.from_dict(SMALL.to_dict() | change)


def test_unknown_settings_are_named():
    with pytest.raises(ConfigError, match=r"unknown settings \['taskz'\]"):
        StudyConfig.from_dict({"pairs": [{"source": "a", "target": "b"}], "taskz": ["ioi"]})


def test_no_study_in_the_folder(tmp_path):
    with pytest.raises(FileFormatError, match="does not describe a study"):
        StudyResults.load(tmp_path)


def test_nothing_is_pickled(study):
    suffixes = {path.suffix for path in study.folder.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors"}
    file = next(study.folder.rglob("scores.safetensors"))
    assert isinstance(NodeScores.load(file), NodeScores)


def test_controls_are_trained_like_W():
    """The same tasks, pairs, steps, batches and rate in zero-shot, whatever takes s' place."""
    config = StudyConfig((PAIR,), tasks=("ioi", "mcqa", "arithmetic_addition"))
    jobs = {job.key: job for job in plan(config, model_hashes(config.models), data_hashes(config))}
    (evaluation,) = (
        job
        for job in jobs.values()
        if job.kind == "evaluate" and job.task == "ioi" and job.method == "nap-ig-inputs"
    )
    circuits = {circuit.key.name: circuit for circuit in evaluation.circuits}
    ours = circuits["zero-shot"].origin.alignments[0]
    assert ours.tasks == ("mcqa", "arithmetic_addition")

    def budget(config: AlignmentConfig) -> tuple[object, ...]:
        same = "objective steps batch_size learning_rate step schedule sparsity initial_logit"
        return tuple(getattr(config, name) for name in same.split())

    compared = [circuits["task_identity"].origin.alignments[0]]
    compared += [
        job
        for job in jobs.values()
        if job.kind == "align" and job.tasks == ours.tasks and job.stand_in is not None
    ]
    assert {job.stand_in for job in compared} == {"task_identity", "uniform_s", "random_s"}
    for job in compared:
        assert budget(job.config) == budget(ours.config)
        assert job.data == ours.data
    trained = [job for job in jobs.values() if job.kind == "control"]
    assert {job.inputs.control for job in trained} == {"target_only", "regression_start"}
    for job in trained:
        assert budget(job.inputs.config) == budget(ours.config)
        assert {sample.size for sample in job.data} == {ours.data[0].size}
