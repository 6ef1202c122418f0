"""Settings from YAML and flags: what is read, and what is refused in one line."""

from __future__ import annotations

import math

import pytest
import yaml
from typer.testing import CliRunner

import dfa_tl
from dfa_tl import AlignmentConfig, PairSpec, StudyConfig, run_study, viz
from dfa_tl.attribution.registry import METHODS, Method
from dfa_tl.cli import app
from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.nodes import NodeSet
from dfa_tl.settings import parse_yaml, read_yaml
from dfa_tl.tasks.registry import relations

PAIR = PairSpec("toy-small", "toy-large")
SMALL = "pairs: [{source: toy-small, target: toy-large}]\ntasks: [ioi, mcqa]\n"
# A value as it is written after `name=` on the command line, and what must be said of it.
OF_ALIGN = [
    ("learning_rate", "fast", "learning_rate='fast': must be a number above 0"),
    ("learning_rate", "true", "learning_rate=True: must be a number above 0"),
    ("learning_rate", ".nan", "learning_rate=nan: must be a number above 0"),
    ("learning_rate", ".inf", "learning_rate=inf: must be a number above 0"),
    ("learning_rate", "", "learning_rate=None: must be a number above 0"),
    ("temperature", "0", "temperature=0: must be a number above 0"),
    ("init_std", "[1]", r"init_std=\[1\]: must be a number above 0"),
    ("sparsity", "x", "sparsity='x': must be a number of at least 0"),
    ("profile_penalty", "-1e-3", "profile_penalty=-0.001: must be a number of at least 0"),
    ("epochs", "1e1", "epochs=10.0: must be a whole number of at least 1"),
    ("epochs", "true", "epochs=True: must be a whole number of at least 1"),
    ("batch_size", "many", "batch_size='many': must be a whole number of at least 1"),
    ("source_vectors", "0", "source_vectors=0: must be a whole number of at least 1"),
    ("seed", "-1", "seed=-1: must be a whole number from 0 to"),
    ("seed", str(2**64), "must be a whole number from 0 to"),
    ("rank", "x", "rank='x': must be a whole number of at least 1, or None for a full W"),
    ("target_bias", "'yes'", "target_bias='yes': must be true or false"),
    ("target_bias", "1", "target_bias=1: must be true or false"),
    ("normalization", "[max]", r"normalization=\['max'\]: choose one of none, max, centered"),
    ("learned", "2", "learned=2: choose one of full, scale"),
]
OF_A_STUDY = [
    ("pairs", "3", r"pairs: expected PairSpec\(source, target\) in a list, got 3"),
    ("pairs", "[toy-small]", "a pair is {source: .., target: ..}, got 'toy-small'"),
    ("pairs", "[{source: a, target: b, via: [1]}]", "a pair needs the names of its models"),
    ("tasks", "3", "tasks: expected names, got"),
    ("methods", "[nap, 1]", "methods: expected names, got"),
    ("methods", "nonsense", "methods: 'nonsense' is unknown, choose among nap, "),
    ("seeds", "x", "seeds='x': must be a whole number from 0 to"),
    ("seeds", "true", "seeds=True: must be a whole number from 0 to"),
    ("seeds", "[0, -1]", "seeds=-1: must be a whole number from 0 to"),
    ("few_pairs_sizes", "[1.5]", "few_pairs_sizes: expected whole numbers of at least 1"),
    ("train_pairs", "true", "train_pairs=True: must be a whole number of at least 1"),
    ("train_pairs", "1e3", "train_pairs=1000.0: must be a whole number of at least 1"),
    ("resamples", "x", "resamples='x': must be a whole number of at least 1"),
    ("test_seed", "x", "test_seed='x': must be a whole number from 0 to"),
    ("test_split", "[test]", "choose one of test, validation"),
    ("level", "x", "level='x': must be a number above 0 and below 1"),
    ("level", "1", "level=1: must be a number above 0 and below 1"),
    ("penalty", "x", "penalty='x': must be a number above 0"),
    ("dtype", "half", "dtype='half': choose one of float32, bfloat16, float16, float64, auto"),
    ("device", "3", "device=3: must be a name such as 'cuda:1', or None"),
    ("ablation", "3", "ablation=3: choose one of counterfactual"),
    ("variants", "3", "variants: expected settings of align by name, got 3"),
    ("variants", "{a: 3}", "variants: 'a' must hold settings of align, got 3"),
    ("variants", "{a: {epoch: 3}}", r"unknown settings \['epoch'\]; align has objective, "),
    ("variants", "{a: {epochs: x}}", "variants: 'a': epochs='x': must be a whole number"),
    ("relations", "3", "relations: expected related tasks by task, got 3"),
    ("relations", "{ioi: 3}", "relations: expected names, got"),
    ("relations", "{ioi: [chess]}", "unknown task 'chess'"),
    ("relations", "{ioi: ioi}", "relations: give at least one value, each once"),
]


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_refused(result, message: str) -> None:
    assert result.exit_code == 1, result.output
    (line,) = result.output.strip().splitlines()
    assert line.startswith("error: ")
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(line)


# Reading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-2", 0.01), ("1e5", 1e5), ("-1E+3", -1000.0), ("1.e2", 100.0), (".5e-1", 0.05),
        ("2.5e2", 250.0), ("0.01", 0.01), ("1.0e-2", 0.01), ("3", 3), ("-3", -3), ("0x10", 16),
    ],
)  # fmt: skip
def test_numbers(text, value):
    read = parse_yaml(text, "a number")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["e5", "1e", "1e5x", "a1e5", "1.2.3", "float32", "'1e-2'", "./1e5"]
)
def test_texts_that_look_like_numbers(text):
    assert parse_yaml(text, "a text") == text.strip("'")


def test_other_packages_yaml_is_as_it_was():
    assert yaml.safe_load("1e-2") == "1e-2"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["[1, 2", "a: b: c", "when: 2024-99-99", "!!python/name:os.system", "[" * 3000]
)
def test_what_is_no_yaml(text, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(FileFormatError, match=r"study\.yaml cannot be read as YAML"):
        StudyConfig.from_yaml(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        (b"- a\n- b\n", "holds no settings; expected 'name: value' lines"),
        (b"words", "holds no settings"),
    ],
)
def test_what_holds_no_settings(content, message, tmp_path):
    (tmp_path / "study.yaml").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        read_yaml(tmp_path / "study.yaml")
    assert_refused(run("study", tmp_path / "study.yaml", "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


def test_numbers_of_a_study_file(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(SMALL + "penalty: 1e-2\nvariants: {slow: {learning_rate: 1e-3}}\n")
    config = StudyConfig.from_yaml(file)
    assert config.penalty == 0.01
    assert config.variants == {"slow": AlignmentConfig(learning_rate=0.001)}


# Values of the wrong type


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "value", "message"), OF_ALIGN)
def test_bad_settings_of_align(name, value, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        AlignmentConfig(**{name: parse_yaml(value, name)})
    options = ("--task", "ioi", "--out", tmp_path / "out", "--set", f"{name}={value}")
    assert_refused(
        run("transfer", "--source", "toy-small", "--target", "toy-large", *options), message
    )
    (tmp_path / "study.yaml").write_text(SMALL)
    setting = f"variants.default.{name}={value}"
    result = run("study", tmp_path / "study.yaml", "--out", tmp_path / "out", "--set", setting)
    assert_refused(result, f"variants: 'default': .*{message}")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "value", "message"), OF_A_STUDY)
def test_bad_settings_of_a_study(name, value, message, tmp_path):
    settings = yaml.safe_load(SMALL) | {name: parse_yaml(value, name)}
    with pytest.raises(ConfigError, match=message):
        StudyConfig.from_dict(settings)
    (tmp_path / "study.yaml").write_text(SMALL)
    setting = f"{name}={value}"
    result = run("study", tmp_path / "study.yaml", "--out", tmp_path / "out", "--set", setting)
    assert_refused(result, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": PAIR}, "pairs: expected PairSpec"),
        ({"pairs": "toy-small"}, "pairs: expected PairSpec"),
        ({"pairs": ()}, "pairs: give at least one pair"),
        ({"seeds": 1.5}, "seeds=1.5: must be a whole number"),
        ({"variants": {"a": {"epochs": 1}}}, "variants: expected settings of align by name"),
        ({"variants": {1: AlignmentConfig()}}, "variants: expected settings of align by name"),
        ({"level": math.nan}, "level=nan: must be a number"),
        ({"penalty": 10**400}, "must be a number above 0"),
    ],
)
def test_bad_values_in_python(settings, message):
    with pytest.raises(ConfigError, match=message):
        StudyConfig(**{"pairs": [PAIR], **settings})


@pytest.mark.usefixtures("unchecked")
def test_one_value_stands_for_a_list_of_one():
    config = StudyConfig(
        [PAIR], tasks="ioi", seeds=[3], few_pairs_sizes=2, relations={"ioi": "mcqa"}
    )
    assert (config.tasks, config.seeds, config.few_pairs_sizes) == (("ioi",), (3,), (2,))
    assert config.relations == {"ioi": ("mcqa",)}
    assert PairSpec("a", "c", via="long-name").steps == (("a", "long-name"), ("long-name", "c"))
    assert StudyConfig([PAIR], seeds=range(3)).seeds == (0, 1, 2)


# One entry of a nested setting, by flag


@pytest.fixture
def described(tmp_path, monkeypatch):
    """The study that the command line would run, from a file's text and flags."""

    def settle(text: str, *changes: str) -> StudyConfig:
        seen = []

        def no_run(config, *_, **__):
            seen.append(config)
            raise ConfigError("not now")

        monkeypatch.setattr(dfa_tl, "run_study", no_run)
        (tmp_path / "study.yaml").write_text(text)
        flags = [part for change in changes for part in ("--set", change)]
        result = run("study", tmp_path / "study.yaml", "--out", tmp_path / "out", *flags)
        assert result.output == "error: not now\n"
        return seen[0]

    return settle


def test_dotted_flags(described):
    config = described(SMALL, "variants.default.epochs=1", "variants.slow.learning_rate=1e-3")
    assert config.variants == {
        "default": AlignmentConfig(epochs=1),
        "slow": AlignmentConfig(learning_rate=0.001),
    }
    config = described(
        SMALL + "variants: {rate 0.1: {learning_rate: 0.1}, plain: }",
        "variants.rate 0.1.epochs=2", "variants.plain.rank=2",
    )  # fmt: skip
    assert config.variants == {
        "rate 0.1": AlignmentConfig(learning_rate=0.1, epochs=2),
        "plain": AlignmentConfig(rank=2),
    }
    assert described(SMALL, "relations.ioi=[mcqa]").relations == relations() | {"ioi": ("mcqa",)}
    assert described(SMALL, "relations../own.v2=ioi").relations["./own.v2"] == ("ioi",)
    assert relations().keys().isdisjoint({"ioi", "./own.v2"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("variants.default.epoch=1", r"unknown settings \['epoch'\]; align has objective"),
        ("variant.default.epochs=1", r"unknown settings \['variant.default.epochs'\]; a study has"),
        ("seeds.0=1", r"unknown settings \['seeds.0'\]; a study has pairs, tasks"),
        ("variants.other.epochs=1", "variants.other is 3, which has no entries to change"),
        ("variants.default.epochs", "expected name=value"),
        ("variants.default.epochs=[1", "--set variants.default.epochs=.* cannot be read as YAML"),
    ],
)
def test_bad_dotted_flags(change, message, tmp_path):
    (tmp_path / "study.yaml").write_text(SMALL + "variants: {default: {}, other: 3}")
    result = run("study", tmp_path / "study.yaml", "--out", tmp_path / "out", "--set", change)
    assert_refused(result, message)
    assert not (tmp_path / "out").exists()


# Methods that were entered after the package was imported


MINE = Method(name="mine", description="a method of your own", score=METHODS["nap"].score)


def test_a_method_of_your_own(register):
    with pytest.raises(ConfigError, match="methods: 'mine' is unknown"):
        StudyConfig((PAIR,), methods=("mine",))
    register(METHODS, MINE)
    config = StudyConfig((PAIR,), methods=("mine",), few_pairs_methods=("mine",))
    assert config.methods == config.few_pairs_methods == ("mine",)
    assert MINE.cost(NodeSet(2, 2), 5).times(4) == (None, None)


@pytest.mark.slow
def test_a_study_of_a_method_whose_passes_are_not_known(tmp_path, register):
    register(METHODS, MINE)
    config = StudyConfig(
        (PAIR,), tasks=("ioi", "mcqa"), methods=("mine",), regimes=("zero-shot",),
        controls=("uniform_s",), few_pairs_methods=(), train_pairs=2, test_pairs=2, grids=("mib",),
        variants={"default": AlignmentConfig(epochs=1)}, resamples=40,
    )  # fmt: skip
    results = run_study(config, tmp_path, progress=False)
    assert not results.failures
    rows = results.frame().set_index("regime")
    assert rows.loc["gold", "task_target_forward"].isna().all()
    assert rows.loc["zero-shot", "task_source_forward"].isna().all()
    passes = config.variants["default"].passes([2])
    assert (rows.loc["uniform_s", "pair_target_forward"] == passes.forward).all()
    drawn = {trace.legendgroup for trace in viz.cost_frontier(results).data}
    assert drawn == {"frontier", "no source"}
