"""push_to_hub and from_hub, against a hub that is a folder; and huggingface_hub itself, offline."""

from __future__ import annotations

import functools
import inspect
import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dfa_tl import Alignment, AlignmentChain, AlignmentConfig, NodeScores, NodeSet, controls
from dfa_tl.alignment.history import AlignmentHistory
from dfa_tl.errors import FileFormatError, FileWriteError, HubError
from dfa_tl.study import PairSpec, StudyConfig, StudyResults
from dfa_tl.study.evaluate_job import JOB_VERSIONS
from dfa_tl.study.store import FORMAT, Store

SMALL, MIDDLE, LARGE = NodeSet(1, 2), NodeSet(2, 2), NodeSet(2, 3)
REPO = "someone/circuits"


def refused(kind, status=404):
    response = SimpleNamespace(headers={}, request=None, status_code=status)
    return kind("the server's own words", response=response)


def as_the_real_one(fake):
    """The fake, which may be called only in ways in which huggingface_hub's own can be."""
    real = inspect.signature(getattr(huggingface_hub.HfApi, fake.__name__))

    @functools.wraps(fake)
    def call(*args, **kwargs):
        real.bind(*args, **kwargs)
        return fake(*args, **kwargs)

    return call


class Hub:
    """What the hub does, in a folder: `repos/<name>/<branch>/<files>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: dict[str, bool | None] = {}
        self.tokens: list[str | None] = []
        self.fails: Exception | None = None
        self.fetched: list[str] = []

    def branch(self, repo_id: str, revision: str | None) -> Path:
        return self.folder / repo_id.replace("/", "--") / (revision or "main")

    def api(self, token=None):
        self.tokens.append(token)
        return self

    def check(self) -> None:
        if self.fails is not None:
            raise self.fails

    @as_the_real_one
    def create_repo(self, repo_id, *, private, exist_ok):
        self.check()
        assert exist_ok
        self.private.setdefault(repo_id, private)
        self.branch(repo_id, None).mkdir(parents=True, exist_ok=True)

    @as_the_real_one
    def create_branch(self, repo_id, *, branch, exist_ok):
        assert exist_ok
        self.branch(repo_id, branch).mkdir(exist_ok=True)

    @as_the_real_one
    def file_exists(self, repo_id, name, *, revision):
        return (self.branch(repo_id, revision) / name).exists()

    @as_the_real_one
    def upload_folder(self, *, repo_id, folder_path, revision, commit_message):
        shutil.copytree(folder_path, self.branch(repo_id, revision), dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    @as_the_real_one
    def model_info(self, repo_id, *, revision, files_metadata):
        self.check()
        assert files_metadata
        root = self.branch(repo_id, revision)
        if not root.exists():
            raise refused(RepositoryNotFoundError if revision is None else RevisionNotFoundError)
        files = [path for path in root.rglob("*") if path.is_file()]
        siblings = [
            SimpleNamespace(rfilename=path.relative_to(root).as_posix(), size=path.stat().st_size)
            for path in files
        ]
        return SimpleNamespace(sha=f"sha-of-{revision or 'main'}", siblings=siblings)

    @as_the_real_one
    def snapshot_download(self, repo_id, *, revision, token, allow_patterns, local_files_only):
        assert not local_files_only
        self.tokens.append(token)
        root = self.branch(repo_id, revision.removeprefix("sha-of-"))
        cache = self.folder / "cache" / repo_id / revision
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                self.fetched.append(name)
                (cache / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, cache / name)
        return str(cache)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Hub:
    hub = Hub(tmp_path / "repos")
    monkeypatch.setattr("dfa_tl.io.hub.HfApi", hub.api)
    monkeypatch.setattr("dfa_tl.io.hub.snapshot_download", hub.snapshot_download)
    return hub


def scores() -> NodeScores:
    values = torch.tensor([1.0, -2, 3])
    return NodeScores(SMALL, values, input=0.5, provenance={"model": "m", "task": "ioi"})


def alignment(source=SMALL, target=MIDDLE) -> Alignment:
    generator = torch.Generator().manual_seed(1)
    history = AlignmentHistory(*torch.rand(3, 2, generator=generator), tasks=("ioi", "mcqa"))
    W = torch.randn(len(source), len(target), generator=generator)
    return Alignment(
        W,
        source,
        target,
        AlignmentConfig(epochs=2),
        history,
        {"target": "t"},
        torch.ones(len(target)),
    )


def chain() -> AlignmentChain:
    return alignment().then(controls.random_W(MIDDLE, LARGE))


def study(folder: Path) -> StudyResults:
    """A study of which two jobs are done, by hand."""
    config = StudyConfig(pairs=(PairSpec("toy-small", "toy-large"),), tasks=("ioi", "mcqa"))
    hashes = {"toy-small": "a", "toy-large": "b"}
    folder.mkdir()
    content = {
        "format": FORMAT,
        "job_versions": JOB_VERSIONS,
        "config": config.to_dict(),
        "models": hashes,
    }
    content["data"] = {}
    (folder / "study.json").write_text(json.dumps(content))
    results = StudyResults.load(folder)
    for job in results.missing[:2]:
        Store(folder).save(job, lambda path: scores().save(path / "scores.safetensors"), {}, 1.0)
    return StudyResults.load(folder)


def same_alignment(one: Alignment, other: Alignment) -> None:
    assert torch.equal(one.W, other.W)
    assert (one.source, one.target, one.config) == (other.source, other.target, other.config)
    assert one.provenance == other.provenance
    assert (one.bias is None) == (other.bias is None)
    assert one.bias is None or torch.equal(one.bias, other.bias)
    assert (one.history is None) == (other.history is None)
    if one.history is not None:
        assert one.history.tasks == other.history.tasks
        assert torch.equal(one.history.kl, other.history.kl)


def same_chain(one: AlignmentChain, other: AlignmentChain) -> None:
    for step, again in zip(one.steps, other.steps, strict=True):
        same_alignment(step, again)
    assert torch.equal(one.transfer(scores()).values, other.transfer(scores()).values)


def test_chains_are_saved_and_loaded(tmp_path):
    chain().save(tmp_path / "chain.safetensors")
    same_chain(AlignmentChain.load(tmp_path / "chain.safetensors"), chain())
    long = alignment(SMALL, SMALL)
    for _ in range(11):  # more than ten: their names must not be mixed up
        long = long.then(alignment(SMALL, SMALL))
    long.save(tmp_path / "long.safetensors")
    assert len(AlignmentChain.load(tmp_path / "long.safetensors").steps) == 12


def test_scores_alignments_and_chains_there_and_back(hub):
    address = scores().push_to_hub(REPO)
    assert address == f"https://hub/{REPO}/commit/1"
    again = NodeScores.from_hub(REPO)
    assert torch.equal(again.values, scores().values)
    assert (again.input, again.provenance) == (0.5, scores().provenance)
    alignment().push_to_hub(REPO)
    chain().push_to_hub(REPO)
    same_chain(AlignmentChain.from_hub(REPO), chain())
    same_alignment(Alignment.from_hub(REPO), alignment())
    # Each fetched its own file and nothing else.
    assert hub.fetched == [
        "scores.safetensors",
        "alignment_chain.safetensors",
        "alignment.safetensors",
    ]


def test_a_study_there_and_back(hub, tmp_path):
    results = study(tmp_path / "study")
    done = len(results.missing)
    bad = Store(results.folder).path(results.missing[0])
    bad.mkdir(parents=True)
    (bad / "manifest.json").write_text("{}")
    results.push_to_hub(REPO)
    branch = hub.branch(REPO, None)
    (branch / "jobs" / "evil.py").write_text("raise SystemExit")
    again = StudyResults.from_hub(REPO)
    assert again.config == results.config
    assert len(again.missing) == done
    assert len(list(branch.glob("jobs/*/*/manifest.json"))) == 2
    assert not any(name.endswith(".py") for name in hub.fetched)
    again.save(tmp_path / "copy")
    assert len(StudyResults.load(tmp_path / "copy").missing) == done
    with pytest.raises(FileWriteError, match="give a new or an empty folder"):
        again.save(tmp_path / "copy")


def test_a_studys_tables_go_with_it(hub, tmp_path):
    results = study(tmp_path / "study")
    (results.folder / "tables").mkdir()
    (results.folder / "tables" / "results.csv").write_text("a\n1\n")
    results.push_to_hub(REPO)
    assert (hub.branch(REPO, None) / "tables" / "results.csv").read_text() == "a\n1\n"


def test_a_manifest_cannot_name_files_elsewhere(tmp_path):
    results = study(tmp_path / "study")
    store, job = Store(results.folder), results.jobs[0]
    assert store.has(job)
    path = store.path(job) / "manifest.json"
    manifest = json.loads(path.read_text())
    (digest,) = manifest["files"].values()
    manifest["files"] = {"../copy": digest}
    shutil.copyfile(store.path(job) / "scores.safetensors", store.path(job).parent / "copy")
    path.write_text(json.dumps(manifest))
    assert not store.has(job)


def test_the_card_says_what_it_is_and_how_to_load_it(hub, tmp_path):
    for thing in (scores(), alignment(), chain(), study(tmp_path / "study")):
        name = type(thing).__name__
        thing.push_to_hub(f"someone/{name}")
        card = (hub.branch(f"someone/{name}", None) / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: dfa_tl\n")
        assert f"\n# {name}\n" in card
        assert f'from dfa_tl import {name}\n\n{name}.from_hub("someone/{name}")' in card
        assert "```json\n{" in card
    card = (hub.branch("someone/NodeScores", None) / "README.md").read_text()
    assert '"task": "ioi"' in card
    assert "3 nodes (1 layers of 2 heads and an MLP)" in card


def test_a_card_that_is_there_is_left(hub):
    scores().push_to_hub(REPO)
    card = hub.branch(REPO, None) / "README.md"
    card.write_text("mine")
    alignment().push_to_hub(REPO)
    assert card.read_text() == "mine"


def test_private_token_and_revision(hub):
    scores().push_to_hub(REPO, private=True, token="t", revision="draft")
    assert hub.private == {REPO: True}
    assert [path.name for path in hub.branch(REPO, None).iterdir()] == []
    NodeScores.from_hub(REPO, revision="draft", token="u")
    assert hub.tokens == ["t", "u", "u"]
    with pytest.raises(HubError, match=r"holds no NodeScores: scores\.safetensors is missing"):
        NodeScores.from_hub(REPO)


class NoNetwork(Exception):
    """An error of whichever HTTP library is below."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (refused(RepositoryNotFoundError), "the hub has no someone/circuits that this account may"),
        (
            refused(GatedRepoError),
            r"gated and .*: accept its terms at https://huggingface\.co/someone/circuits",
        ),
        (
            refused(HfHubHTTPError, 503),
            "someone/circuits (was not written|is not complete).*the hub answered 503",
        ),
    ],
)
def test_refusals_of_the_hub(hub, error, message):
    hub.fails = error
    for call in (NodeScores.from_hub, scores().push_to_hub):
        with pytest.raises(HubError, match=message) as caught:
            call(REPO)
        assert caught.value.__cause__ is error
    assert hub.fetched == []


def test_no_such_revision(hub):
    scores().push_to_hub(REPO)
    with pytest.raises(HubError, match="has no revision 'v2': its branches and tags are at"):
        NodeScores.from_hub(REPO, revision="v2")


def test_pushing_without_a_network(hub):
    hub.fails = NoNetwork("name resolution failed")
    with pytest.raises(
        HubError,
        match=r"was not written, .*\(NoNetwork: .*\): check the network",
    ):
        scores().push_to_hub(REPO)


def test_large_repositories_are_not_fetched(hub, monkeypatch):
    scores().push_to_hub(REPO)
    monkeypatch.setattr(NodeScores, "hub_limit", 100)
    with pytest.raises(HubError, match="a NodeScores has at most 100"):
        NodeScores.from_hub(REPO)
    assert hub.fetched == []


def test_files_of_the_hub_are_checked_like_others(hub):
    scores().push_to_hub(REPO)
    file = hub.branch(REPO, None) / "scores.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(FileFormatError, match="truncated or altered"):
        NodeScores.from_hub(REPO)
    alignment().save(file)
    with pytest.raises(
        FileFormatError, match="not a dfa_tl scores file but one of kind 'alignment'"
    ):
        NodeScores.from_hub(REPO)


# huggingface_hub itself, which the tests keep offline


def test_offline_nothing_cached():
    for call in (NodeScores.from_hub, StudyResults.from_hub, scores().push_to_hub):
        with pytest.raises(
            HubError, match=r"nothing (was not written|is not comp).* offline mode is on"
        ):
            call("nobody/nothing")


def test_offline_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--someone--circuits"
    commit = "0123456789abcdef0123456789abcdef01234567"
    scores().save(folder / "snapshots" / commit / "scores.safetensors")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    assert NodeScores.from_hub(REPO)["m0"] == 3
    assert NodeScores.from_hub(REPO, revision=commit)["m0"] == 3
    with pytest.raises(HubError, match=r"alignment\.safetensors is missing"):
        Alignment.from_hub(REPO)


def test_names_that_no_repository_has():
    for call in (NodeScores.from_hub, scores().push_to_hub):
        with pytest.raises(
            HubError, match="'a b/c/d' cannot be a name on the hub: expected organisation/name"
        ):
            call("a b/c/d")
