"""What every generated task must do; one that is added is checked without a line of test."""

from __future__ import annotations

import pytest

from dfa_tl import load_task
from dfa_tl.tasks import MIB_TASKS, TASKS
from dfa_tl.tasks.generators.generate import SPLITS
from dfa_tl.tasks.registry import WORDS, family_of, relations

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))


@pytest.mark.slow
@every_task
def test_splits_are_disjoint_and_seeded(task):
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        pairs = load_task(task.name, split=split, n=150).pairs
        assert pairs == load_task(task.name, split=split, n=150).pairs
        assert pairs != load_task(task.name, split=split, n=150, seed=1).pairs
        assert len(set(pairs)) == 150
        seen[split] = {prompt for pair in pairs for prompt in (pair.clean, pair.corrupt)}
    for split in SPLITS:
        others = set().union(*(seen[other] for other in SPLITS if other != split))
        assert not seen[split] & others


@every_task
def test_pairs_fit_the_bundled_tokenizer(toy_small, task):
    data = load_task(task.name, n=100)
    tokens = data.tokenize(toy_small)  # it refuses prompts of unequal length
    assert len(tokens) == 100
    assert tokens.clean.shape == tokens.corrupt.shape
    assert (tokens.answers[:, 0] != tokens.answers[:, 1]).all()
    words = {w for pair in data.pairs for w in f"{pair.clean} {pair.corrupt}".split()}
    assert words <= WORDS


@every_task
def test_its_record_is_whole(task):
    assert task.family
    assert len(task.description) > 10
    assert "arXiv" in task.reference
    for other in task.related:
        assert TASKS[other].family == task.family
        assert task.name in TASKS[other].related


def test_families():
    families: dict[str, list[str]] = {}
    for name in TASKS:
        families.setdefault(family_of(name), []).append(name)
    assert list(families.values()) == [
        ["ioi"],
        ["mcqa", "arc_easy", "arc_challenge"],
        ["arithmetic_addition", "arithmetic_subtraction"],
    ]
    for name in MIB_TASKS:
        assert family_of(name) == family_of(name.removeprefix("mib/"))
    assert family_of("./my_task") == "./my_task"


def test_relations_are_those_of_the_paper():
    sums, choices = "arithmetic_addition", "arc_easy"
    found = relations()
    assert len(found) == 8
    assert found[sums] == ("arithmetic_subtraction",)
    assert found[f"mib/{choices}"] == ("mib/arc_challenge",)


def test_a_task_of_the_battery_has_its_family():
    assert family_of("ioi_english") == family_of("mib/ioi") == "ioi"
