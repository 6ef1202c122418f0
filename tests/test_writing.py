"""What a path means to everything that writes or reads: links, permissions, devices, `~`."""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from typer.testing import CliRunner

from dfa_tl import (
    Alignment,
    AlignmentChain,
    NodeScores,
    NodeSet,
    analysis,
    controls,
    load_model,
    load_task,
)
from dfa_tl.analysis.render import Table, write_frame
from dfa_tl.cli import app
from dfa_tl.errors import ConfigError, DFAError, FileFormatError, FileWriteError
from dfa_tl.io.atomic import destination, user_path, write_file
from dfa_tl.io.output import output_file, output_folder
from dfa_tl.io.strict_json import json_bytes, parse_json
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.report import write_report
from dfa_tl.study import StudyConfig, StudyResults
from dfa_tl.study.store import Store
from dfa_tl.tasks.sources.tables import read_pairs
from dfa_tl.viz import save_figure
from study_killed import JOB, save

pytestmark = pytest.mark.slow

NODES = NodeSet(1, 2)
PAIRS = "clean,corrupt,answer,wrong_answer\na b,a c,d,e\n"
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and special files")


def scores(**changes: object) -> NodeScores:
    return NodeScores(NODES, torch.arange(3.0), **changes)


def alignment() -> Alignment:
    return controls.random_W(NODES, NODES)


MIB = {"d_model": 4, "parallel_attn_mlp": False}
WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "bytes": ("file", lambda path: write_file(path, b"content")),
    "scores": ("s.safetensors", lambda path: scores().save(path)),
    "alignment": ("a.safetensors", lambda path: alignment().save(path)),
    "chain": ("c.safetensors", lambda path: alignment().then(alignment()).save(path)),
    "benchmark json": ("i.json", lambda path: scores().to_mib(path, **MIB)),
    "benchmark pt": ("i.pt", lambda path: scores().to_mib(path, **MIB)),
    "figure": ("f.html", lambda path: save_figure(go.Figure(), path)),
    "table": ("t.csv", lambda path: write_frame(pd.DataFrame({"a": [1]}), Path(path))),
}
every_writer = pytest.mark.parametrize("name", WRITERS)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def below(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Links


@posix
@every_writer
def test_a_link_stays_and_what_it_stands_for_is_written(name, tmp_path):
    file, write = WRITERS[name]
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / file
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert link.readlink() == target
    assert not target.is_symlink()
    assert target.read_bytes() not in (b"old", b"")
    assert mode(target) == 0o640
    assert below(tmp_path) == {"elsewhere", file}
    assert below(target.parent) == {"target"}


@posix
@every_writer
def test_a_dangling_link_is_written_through(name, tmp_path):
    file, write = WRITERS[name]
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / file
    link.symlink_to("elsewhere/hop")  # by way of another link, relative to its own folder
    (tmp_path / "elsewhere" / "hop").symlink_to("target")
    write(link)
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "hop").is_symlink()
    assert (tmp_path / "elsewhere" / "target").stat().st_size > 0


@posix
def test_a_folder_that_is_a_dangling_link(tmp_path):
    (tmp_path / "runs").symlink_to(tmp_path / "disk" / "runs")
    scores().save(tmp_path / "runs" / "s.safetensors")
    assert NodeScores.load(tmp_path / "disk" / "runs" / "s.safetensors")["m0"] == 2
    assert (tmp_path / "runs").is_symlink()


@posix
@every_writer
def test_links_in_a_circle(name, tmp_path):
    file, write = WRITERS[name]
    (tmp_path / file).symlink_to("other")
    (tmp_path / "other").symlink_to(file)
    with pytest.raises(FileWriteError, match="cannot be written"):
        write(tmp_path / file)
    assert below(tmp_path) == {file, "other"}


@posix
def test_the_other_names_of_a_hard_link_keep_the_old_file(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"old")
    os.link(one, other)
    write_file(one, b"new")
    assert (one.read_bytes(), other.read_bytes()) == (b"new", b"old")


@posix
def test_the_folder_of_a_study_is_a_link(small_studies, tmp_path):
    (tmp_path / "disk").mkdir(mode=0o750)
    (tmp_path / "disk").chmod(0o750)
    (tmp_path / "copy").symlink_to("disk")
    small_studies["small"].save(tmp_path / "copy")
    assert (tmp_path / "copy").is_symlink()
    assert mode(tmp_path / "disk") == 0o750
    assert not StudyResults.load(tmp_path / "copy").missing
    (tmp_path / "runs").symlink_to("disk/new/runs")
    store = Store(tmp_path / "runs")
    save(store)
    assert store.has(JOB)
    assert Store(tmp_path / "disk" / "new" / "runs").has(JOB)
    description = tmp_path / "disk" / "study.json"
    description.rename(tmp_path / "kept.json")
    description.symlink_to("../kept.json")
    StudyResults.load(tmp_path / "disk").save(tmp_path / "again")
    assert not (tmp_path / "again" / "study.json").is_symlink()


# What is no regular file


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


SPECIAL = {"FIFO": fifo, "socket": unix_socket, "device": device, "folder": Path.mkdir}


@posix
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("by_link", [False, True], ids=["itself", "by a link"])
@every_writer
def test_only_a_regular_file_is_replaced(name, by_link, kind, tmp_path, monkeypatch):
    file, write = WRITERS[name]
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    special = Path("special" if by_link else file)
    SPECIAL[kind](special)
    if by_link:
        Path(file).symlink_to("special")
    before = special.stat()
    with pytest.raises(FileWriteError, match=f"it is a {kind}, not a regular file. Give the name"):
        write(Path(file))
    assert (special.stat().st_mode, special.stat().st_ino) == (before.st_mode, before.st_ino)
    assert below(tmp_path) == {file, special.name}


@posix
@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_what_is_in_dev_is_never_a_file(path, tmp_path):
    if not os.path.lexists(path):
        pytest.skip("this system has none")
    (tmp_path / "link").symlink_to(path)
    for each in (Path(path), tmp_path / "link"):
        with pytest.raises(FileWriteError, match=r"it is (a device|part of /proc), not a regular"):
            destination(each)  # looks, and writes nothing
        for find in (partial(output_file, default="s.safetensors"), output_folder):
            with pytest.raises(FileWriteError, match="not a regular file"):
                find(each)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


# Permissions


@posix
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o664, 0o755])
@every_writer
def test_permissions_stay(name, permissions, tmp_path):
    file, write = WRITERS[name]
    (tmp_path / file).write_bytes(b"old")
    (tmp_path / file).chmod(permissions)
    write(tmp_path / file)
    assert mode(tmp_path / file) == permissions
    assert (tmp_path / file).read_bytes() != b"old"


@posix
@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
@every_writer
def test_a_new_file_has_what_the_umask_leaves(name, umask, expected, tmp_path):
    file, write = WRITERS[name]
    before = os.umask(umask)
    try:
        write(tmp_path / file)
    finally:
        os.umask(before)
    assert mode(tmp_path / file) == expected


@every_writer
def test_a_file_that_may_not_be_written_to_is_refused(name, tmp_path, monkeypatch):
    """As `open(path, "w")` refuses it, though renaming would work. Root may write everything."""
    file, write = WRITERS[name]
    (tmp_path / file).write_bytes(b"old")
    (tmp_path / file).chmod(0o444)
    plain = os.open

    def as_a_user(path, flags, *more, **options):
        if Path(path) == tmp_path / file and flags & os.O_WRONLY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return plain(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", as_a_user)
    with pytest.raises(FileWriteError, match=r"cannot be written \(Permission denied\)"):
        write(tmp_path / file)
    assert (tmp_path / file).read_bytes() == b"old"
    assert below(tmp_path) == {file}


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("x" * 255)
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"


def test_readers_see_the_whole_file_while_others_write_it(tmp_path):
    path, contents = tmp_path / "file", [bytes([65 + n]) * 100_000 for n in range(4)]
    write_file(path, contents[0])

    def write(content: bytes) -> None:
        for _ in range(20):
            write_file(path, content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in contents
    assert below(tmp_path) == {"file"}


# The home folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and another one to work in, where nothing may be written."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    assert not below(tmp_path / "work")


@pytest.mark.parametrize("kind", [str, Path])
@every_writer
def test_files_are_written_to_the_home_folder(name, kind, home):
    file, write = WRITERS[name]
    write(kind(f"~/new/{file}"))
    assert below(home / "new") == {file}


@pytest.mark.parametrize("kind", [str, Path])
def test_files_are_read_from_the_home_folder(kind, home):
    (home / "p.csv").write_text(PAIRS)
    (home / "task").mkdir()
    (home / "task" / "train.csv").write_text(PAIRS)
    (home / "study.yaml").write_text("pairs: [{source: toy-small, target: toy-large}]")
    (home / "model").symlink_to(BUNDLED_FOLDER / "toy-small", target_is_directory=True)
    scores().save(home / "s.safetensors")
    scores(provenance={"task": "ioi", "model": "gpt2"}).to_mib(kind("~/mib"), **MIB)
    alignment().save(home / "a.safetensors")
    alignment().then(alignment()).save(home / "c.safetensors")
    assert NodeScores.load(kind("~/s.safetensors"))["m0"] == 2
    assert NodeScores.from_mib(kind("~/mib/ioi_gpt2"))["m0"] == 2
    assert NodeScores.from_mib(kind("~/mib/ioi_gpt2/importances.json"))["m0"] == 2
    assert Alignment.load(kind("~/a.safetensors")).W.shape == (3, 3)
    assert len(AlignmentChain.load(kind("~/c.safetensors")).steps) == 2
    assert read_pairs(kind("~/p.csv")).pairs[0].clean == "a b"
    assert load_task("~/task").pairs[0].clean == "a b"
    with pytest.raises(DFAError, match=str(home / "none")):
        load_task("mib/ioi", path=kind("~/none"))
    assert load_model(kind("~/model")).nodes == NodeSet(3, 4)
    assert StudyConfig.from_yaml(kind("~/study.yaml")).pairs[0].source == "toy-small"


def test_studies_live_in_the_home_folder(home, small_studies):
    small_studies["small"].save("~/study")
    results = StudyResults.load(Path("~/study"))
    assert not results.missing
    analysis.write_tables(results, "~/tables")
    assert (home / "tables" / "leaderboard.csv").is_file()
    assert write_report(results, Path("~/r.html")) == home / "r.html"
    Table(pd.DataFrame({"a": [1]})).write(Path("~/one"), "t")
    assert below(home / "one") == {"t.csv", "t.md", "t.tex"}


def test_the_command_line_knows_the_home_folder(home, small_studies):
    small_studies["small"].save(home / "study")
    for arguments in (
        ["tables", "~/study", "--out=~/tables"],
        ["report", "~/study", "--out=~/x", "--no-attention"],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert {"tables", "x"} <= below(home)
    assert below(home / "x") == {"report.html"}


@pytest.mark.parametrize("path", ["~no-such-user-here", "~no-such-user-here/s.safetensors"])
def test_the_home_of_nobody(path, home):
    with pytest.raises(ConfigError, match="the home folder of ~no-such-user-here is not known"):
        scores().save(path)
    with pytest.raises(ConfigError, match="is not known"):
        NodeScores.load(path)


@pytest.mark.parametrize("path", [None, 3, b"bytes", "nul\0l"])
def test_what_is_no_path(path, unchecked):
    with pytest.raises(ConfigError, match=r"a path must be a str or a pathlib\.Path|NUL"):
        user_path(path)


# Strict JSON


ODD = {"low": -math.inf, "list": [math.nan, {"high": math.inf}], "tuple": (1, math.nan)}


def strict(content: str | bytes) -> object:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not a JSON number")

    return json.loads(content, parse_constant=refuse)


@pytest.mark.parametrize("indent", [None, 1])
def test_what_json_cannot_say_is_null(indent):
    expected = {"low": None, "list": [None, {"high": None}], "tuple": [1, None]}
    assert strict(json_bytes(ODD, "it", indent=indent)) == expected


def test_numpy_numbers_too(tmp_path):
    odd = {"n": torch.tensor([1.5, math.inf]).numpy().astype(float)[1]}
    assert strict(json_bytes(odd, "it")) == {"n": None}


def test_provenance_is_strict_json(tmp_path):
    for name, given in {
        "s": scores(provenance=ODD), "a": replace(alignment(), provenance=ODD)
    }.items():  # fmt: skip
        given.save(tmp_path / name)
        header = (tmp_path / name).read_bytes()
        size = int.from_bytes(header[:8], "little")
        metadata = strict(json.loads(header[8 : 8 + size])["__metadata__"]["metadata"])
        assert metadata["provenance"]["low"] is None
        assert type(given).load(tmp_path / name).provenance["list"] == [None, {"high": None}]


def test_our_own_files_are_read_strictly_and_others_as_they_are():
    for constant in ("NaN", "Infinity", "-Infinity"):
        text = f'{{"a": {constant}}}'
        with pytest.raises(FileFormatError, match=f"not valid JSON: {constant} is not a JSON numb"):
            parse_json(text, "it")
        assert str(parse_json(text, "it", strict=False)["a"]) == str(float(constant))


def test_every_json_file_of_a_study_is_strict(small_studies):
    files = list(small_studies["small"].folder.rglob("*.json"))
    assert len(files) > 10
    for file in files:
        strict(file.read_bytes())


# Where --out goes


PLACES = {
    "x.html": "x.html",
    "new": "new/page.html",
    "new/below": "new/below/page.html",
    "v1.2": "v1.2/page.html",
    "tmp.3Q": "tmp.3Q/page.html",
    "there.html": "there.html/page.html",
    "X.HTML": "X.HTML",
}


@pytest.mark.parametrize("out", PLACES)
def test_what_out_means(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.html").mkdir()
    assert output_file(out, "page.html") == Path(PLACES[out])
    assert output_file(Path(out), "page.html", (".html", ".png")) == Path(PLACES[out])
    assert below(tmp_path) == {"there.html"}  # nothing is made


def test_out_of_another_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").touch()
    with pytest.raises(ConfigError, match=r"x\.csv ends in \.csv, .* in \.html or \.png\. Give"):
        output_file("x.csv", "page.html", (".html", ".png"))
    with pytest.raises(
        ConfigError, match=r"x\.csv ends like a file, but several files are written"
    ):
        output_folder("x.csv")
    with pytest.raises(FileWriteError, match="notes is a file, where a folder is needed"):
        output_file("notes", "page.html")
    with pytest.raises(FileWriteError, match="notes is a file, where a folder is needed"):
        output_folder("notes/below")
    assert output_folder("tmp.3Q") == Path("tmp.3Q")


@posix
def test_out_that_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "x.html")
    with pytest.raises(FileWriteError, match="it is a FIFO, not a regular file"):
        output_file(tmp_path / "x.html", "page.html")
    (tmp_path / "runs").symlink_to("disk/runs")
    assert output_folder(tmp_path / "runs") == tmp_path / "runs"


@pytest.mark.parametrize("out", ["tmp.3Q", "page.html"])
def test_out_of_the_report(out, tmp_path, small_studies, monkeypatch):
    """The report itself is written by the tests above, and takes long."""
    monkeypatch.setattr(
        "dfa_tl.report.write_report", lambda results, file, **_: write_file(file, b"page")
    )
    small_studies["small"].save(tmp_path / "study")
    (tmp_path / "tmp.3Q").mkdir()
    result = CliRunner().invoke(
        app, ["report", str(tmp_path / "study"), "--no-attention", "--out", str(tmp_path / out)]
    )
    assert result.exit_code == 0, result.output
    written = tmp_path / ("tmp.3Q/report.html" if out == "tmp.3Q" else out)
    assert result.output.strip() == str(written)
    assert written.read_bytes() == b"page"
