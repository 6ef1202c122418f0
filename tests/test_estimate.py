"""What a study will cost is known before it runs, and its progress is counted in passes."""

import json
from dataclasses import replace

import pytest
import torch

from dfa_tl import AlignmentConfig, NodeScores, load_model, load_task
from dfa_tl.attribution.registry import METHODS
from dfa_tl.evaluation.circuits import (
    circuits_of,
    distinct_circuits,
    expected_runs,
    first_layer_run,
)
from dfa_tl.models.shape import model_shape
from dfa_tl.nodes import NodeSet
from dfa_tl.study import PairSpec, StudyConfig, estimate_study, run_study
from dfa_tl.study.estimate import Speed, mean_length, measured_speed
from dfa_tl.study.inputs import model_hashes
from dfa_tl.study.job import Workload
from dfa_tl.study.jobs import AttributeJob, TrainingJob
from dfa_tl.study.plan import plan
from dfa_tl.study.progress import StudyProgress
from dfa_tl.study.store import Store

CONFIG = StudyConfig(
    pairs=(PairSpec("toy-small", "toy-large"),),
    tasks=("ioi", "arc_easy"),
    methods=("nap",),
    regimes=("zero-shot",),
    controls=("uniform_s", "target_only"),
    train_pairs=8,
    test_pairs=4,
    variants={"default": AlignmentConfig(epochs=1, batch_size=4)},
    grids=("mib",),
    resamples=100,
    batch_size=4,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    run_study(CONFIG, folder, progress=False)
    return folder


def test_planned_passes_are_those_that_jobs_record(study, toy_small, toy_large):
    """Evaluation aside, whose circuits depend on the scores."""
    checked, models = set(), {model.name: model for model in (toy_small, toy_large)}
    for job in plan(CONFIG, model_hashes(CONFIG.models), {}):
        manifest = Store(study).manifest(job)
        load = job.workload(models[job.model_run.name].nodes)
        if job.kind != "evaluate":
            assert (load.forward, load.backward) == (manifest["forward"], manifest["backward"])
            checked.add(job.kind)
        else:
            assert load.rows == len(json.loads((Store(study).path(job) / "rows.json").read_text()))
    assert checked == {"attribute", "align", "control"}


def test_passes_by_hand():
    """nap takes two forward passes and one backward pass of each pair."""
    estimate = estimate_study(replace(CONFIG, controls=(), regimes=("zero-shot",)))
    assert estimate.models["toy-small"].forward == 2 * 2 * 8
    assert estimate.models["toy-small"].backward == 2 * 8
    assert estimate.jobs == {"attribute": 4, "align": 2, "evaluate": 2}
    # Gold and training, on two tasks of 8 pairs, one epoch.
    assert estimate.models["toy-large"].backward == 2 * 8 + 2 * 8
    assert estimate.seconds > estimate.critical_path > 0
    assert "forward" in str(estimate)
    assert "memory" in str(estimate)
    assert "disk" in str(estimate)


def test_a_study_that_is_done_has_nothing_left(study):
    estimate = estimate_study(CONFIG, study)
    assert estimate.jobs == {}
    assert estimate.models == {}
    assert estimate.critical_path == 0


def test_memory_and_disk_are_of_the_right_size(study, monkeypatch):
    any_speed = Speed(forward=(0.0, 1.0), backward=(0.0, 1.0))
    monkeypatch.setattr("dfa_tl.study.estimate.measured_speed", lambda *_: any_speed)
    written = sum(file.stat().st_size for file in study.rglob("*") if file.is_file())
    estimate = estimate_study(CONFIG)
    assert 0.7 < estimate.disk / written < 1.3
    assert estimate.memory > 100 * 2**20  # Python and PyTorch themselves


def test_expected_runs_by_hand():
    """The full circuit is the clean run itself, and the empty one starts at layer 0."""
    nodes = NodeSet(2, 1)
    assert expected_runs(1, nodes, (0.0, 1.0), "nodes") == 1
    assert expected_runs(9, nodes, (0.0, 1.0), "nodes") == 1  # all vectors have the same two


def test_expected_runs_count_the_layers_that_differ():
    nodes, ks = NodeSet(5, 3), (0.0, 0.3, 0.7, 1.0)
    drawn = torch.Generator().manual_seed(0)
    vectors = [NodeScores(nodes, torch.randn(20, generator=drawn), input=1.0) for _ in range(3)]
    circuits = {str(n): circuits_of(vector, ks, "nodes") for n, vector in enumerate(vectors)}
    before, layers = torch.ones(20, dtype=torch.bool), 0
    for kept in distinct_circuits(circuits)[0]:
        layers += 5 - first_layer_run(kept, before, 5)
        before = kept
    assert expected_runs(3, nodes, ks, "nodes") == pytest.approx(layers / 5)


def test_speed_grows_with_passes_and_tokens():
    speed = Speed(forward=(2.0, 0.5), backward=(1.0, 1.0))
    load = Workload(forward=8, backward=4, data=(), batch_size=4)
    # Batches of four: 8 (2 / 4 + .5 x 10) + 4 (1 / 4 + 1 x 10).
    assert speed.seconds(load, pairs=16, length=10.0) == pytest.approx(44 + 41)
    # Two pairs cannot fill a batch of four.
    assert speed.seconds(load, pairs=2, length=10.0) == pytest.approx(48 + 42)


def test_jobs_that_run_what_pairs_share_once(register):
    register(METHODS, replace(METHODS["nap"], name="whole", shares_prefix=False))
    for ablation in ("counterfactual", "zero"):
        config = replace(CONFIG, methods=("nap", "whole"), ablation=ablation)
        for job in plan(config, model_hashes(config.models), {}):
            expected = ablation == "counterfactual"
            if isinstance(job, AttributeJob):
                expected &= job.method == "nap"
            elif isinstance(job, TrainingJob):
                expected = True
            assert job.shares_prefixes == expected, job


def test_tokens_of_a_job_that_shares_prefixes():
    """A prefix is run once, whatever the number of passes after it."""
    whole, after = 16.0, 6.0
    assert mean_length(whole, after, passes=1.0) == whole
    assert mean_length(whole, after, passes=5.0) == pytest.approx((10 + 5 * 6) / 5)
    assert mean_length(whole, whole, passes=5.0) == whole


def test_speed_is_measured_on_whole_runs(toy_large, monkeypatch):
    monkeypatch.setattr("dfa_tl.attribution.attribute.shared_prefix", None)
    speed = measured_speed(toy_large, load_task("ioi", n=4), 4)
    assert sum(speed.forward) > 0


def test_a_shape_is_that_of_the_loaded_model():
    for name in ("toy-small", "toy-large"):
        assert model_shape(name).nodes == load_model(name).nodes
    assert model_shape("toy-large").work == 12 * 6 * 96**2


def test_progress_counts_each_job_once(study, capsys):
    jobs = plan(CONFIG, model_hashes(CONFIG.models), {})
    progress = StudyProgress(jobs, Store(study / "empty"), show=True)
    assert progress.bar.n == 0
    progress.start(jobs[0])
    progress.end(jobs[:1])
    once = progress.bar.n
    progress.end(jobs[:1])
    assert progress.bar.n == once > 0
    progress.end(jobs)
    assert progress.bar.n == pytest.approx(progress.bar.total)
    progress.again(jobs[:1])
    assert progress.bar.n == pytest.approx(progress.bar.total - once)
    progress.close()
    assert "passes" in capsys.readouterr().err
    assert StudyProgress(jobs, Store(study), show=False).work.keys() == {job.key for job in jobs}
