"""A kind of job whose results change must get another version, or old results would be reused."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from dfa_tl.errors import ConfigError
from dfa_tl.study import StudyResults
from dfa_tl.study.evaluate_job import JOB_VERSIONS
from dfa_tl.study.inputs import model_hashes
from dfa_tl.study.jobs import AttributeJob
from dfa_tl.study.plan import plan
from dfa_tl.study.run import run_job, run_jobs
from dfa_tl.study.store import Store
from job_versions import CONFIG, RECORD, record

pytestmark = pytest.mark.usefixtures("one_thread")
HASHES = model_hashes(["toy-small", "toy-large"])


def problems(recorded: dict, found: dict) -> list[str]:
    """What is wrong with the recorded versions, one line for each kind of job."""
    wrong = []
    for kind, now in found.items():
        before = recorded.get(kind, {"versions": {}, "numbers": {}})
        if now["versions"] != before["versions"]:
            wrong.append(f"{kind}: no results are recorded for versions {now['versions']}")
        elif not agree(now["numbers"], before["numbers"]):
            wrong.append(f"the results of {kind} jobs changed: raise its code_version")
    return wrong


def agree(now: dict, before: dict) -> bool:
    """Whether numbers agree as well as those of two machines do."""
    return now.keys() == before.keys() and all(
        numbers == pytest.approx(before[job], rel=1e-4, abs=1e-5) for job, numbers in now.items()
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    return record(tmp_path_factory.mktemp("study"))


def test_results_of_a_version_do_not_change(found):
    wrong = problems(json.loads(RECORD.read_text()), found)
    assert not wrong, (
        "; ".join(wrong) + ". Then regenerate the record with `python tests/job_versions.py`"
    )


@pytest.mark.parametrize("kind", JOB_VERSIONS)
def test_changed_numbers_need_another_version(found, kind):
    changed = deepcopy(found)
    numbers = next(iter(changed[kind]["numbers"].values()))
    name = "cpr" if "cpr" in numbers else "weighted"
    numbers[name] += 0.01 * (1 + abs(numbers[name]))
    assert problems(found, changed) == [
        f"the results of {kind} jobs changed: raise its code_version"
    ]
    changed[kind]["versions"][kind] += 1
    assert problems(found, changed) == [
        f"{kind}: no results are recorded for versions {changed[kind]['versions']}"
    ]


def test_another_version_makes_new_jobs_of_the_kind_and_of_what_needs_it():
    keys = {}
    for versions in (JOB_VERSIONS, JOB_VERSIONS | {"align": 99}):
        jobs = plan(CONFIG, HASHES, {}, versions)
        keys[versions["align"]] = {(job.kind, job.key) for job in jobs}
    unchanged = keys[99] & keys[JOB_VERSIONS["align"]]
    changed = keys[99] - unchanged
    assert {kind for kind, _ in unchanged} == {"attribute", "control"}
    assert {kind for kind, _ in changed} == {"align", "evaluate"}


def test_a_worker_with_another_version_refuses_the_job(tmp_path, monkeypatch):
    job = next(job for job in plan(CONFIG, HASHES, {}) if isinstance(job, AttributeJob))
    monkeypatch.setattr(AttributeJob, "code_version", 99)
    with pytest.raises(ConfigError, match=r"planned with version 1 of attribute jobs, .* 99: inst"):
        run_job(job, Store(tmp_path))
    tracebacks = run_jobs((job,), str(tmp_path))
    assert "install the same dfa_tl" in tracebacks[job.key]
    assert not Store(tmp_path).has(job)


def test_results_of_other_versions_stay_readable(tmp_path):
    """They are read with the versions on record in the folder, not with those of the package."""
    content = {
        "format": 3,
        "job_versions": JOB_VERSIONS | {"attribute": 99},
        "config": CONFIG.to_dict(),
        "models": HASHES,
        "data": {},
    }
    (tmp_path / "study.json").write_text(json.dumps(content))
    versions = {job.kind: job.version for job in StudyResults.load(tmp_path).missing}
    assert versions == content["job_versions"]
