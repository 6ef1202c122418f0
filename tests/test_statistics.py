"""Statistics and structure, against closed forms, plain loops and scipy."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf, sqrt

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import trapezoid

from dfa_tl import FaithfulnessCurve, NodeScores, NodeSet
from dfa_tl.errors import ConfigError, DataError, NumericsError, ScoresError
from dfa_tl.evaluation import intervals as statistics
from dfa_tl.evaluation.intervals import (
    Bootstrap,
    Interval,
    cmd_interval,
    cpr_difference_interval,
    cpr_interval,
    seed_spread,
)
from dfa_tl.evaluation.mean_intervals import Compared, mean_interval
from dfa_tl.evaluation.recovery import recovery
from dfa_tl.evaluation.significance import cpr_difference_p_value, holm
from dfa_tl.evaluation.structure import (
    layer_profile,
    profile_correlation,
    score_correlation,
    top_overlap,
)

KS = (0.0, 0.25, 0.5, 1.0)
SHAPE = (0.0, 0.4, 0.9, 1.0)  # f of the population
AREAS = [(cpr_interval, "cpr"), (cmd_interval, "cmd")]


def runs(n, rng, *, gap=4.0, spread=1.5):
    """Clean and corrupt values of `n` pairs."""
    corrupt = rng.normal(-2, 1, n)
    return corrupt + rng.normal(gap, spread, n), corrupt


def curve_of(clean, corrupt, rng, *, shape=SHAPE, noise=1.0, ks=KS):
    """A noisy curve whose expected f is `shape`; the end points are exact."""
    shape = np.array(shape)[:, None]
    inner = np.array([0.0] + [noise] * (len(ks) - 2) + [0.0])[:, None]
    noises = inner * rng.normal(size=(len(ks), len(clean)))
    values = corrupt + shape * (clean - corrupt) + noises
    return FaithfulnessCurve(ks, tuple(range(len(ks))), values, clean, corrupt)


def take(curve, pairs):
    return replace(
        curve,
        pair_values=curve.pair_values[:, pairs],
        clean=curve.clean[pairs],
        corrupt=curve.corrupt[pairs],
    )


def global_state():
    """The global random state: its key and position."""
    state = np.random.get_state(legacy=False)["state"]
    return state["key"].tolist(), state["pos"]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def curve(rng):
    return curve_of(*runs(12, rng), rng)


@pytest.fixture
def two_curves(rng):
    clean, corrupt = runs(30, rng)
    return curve_of(clean, corrupt, rng), curve_of(clean, corrupt, rng, shape=(0, 0.2, 0.8, 1))


# Intervals of one curve


def looped_limits(values, n, level):
    """Expanded percentiles, from a sorted list."""
    tail = stats.norm.cdf(sqrt(n / (n - 1)) * stats.t.ppf((1 - level) / 2, n - 1))
    ordered, last = sorted(values), len(values) - 1
    return ordered[int(np.floor(tail * last))], ordered[int(np.ceil((1 - tail) * last))]


@pytest.mark.parametrize(("interval", "area"), AREAS)
def test_interval_is_that_of_a_loop(curve, interval, area):
    drawn = np.random.default_rng(3).integers(12, size=(200, 12))
    values = [getattr(take(curve, pairs), area) for pairs in drawn]
    result = interval(curve, Bootstrap(level=0.9, resamples=200, seed=3))
    assert (result.low, result.high) == pytest.approx(looped_limits(values, 12, 0.9))
    assert (result.estimate, result.level) == (getattr(curve, area), 0.9)


def test_interval_tends_to_scipys_percentiles(rng):
    clean, corrupt = runs(60, rng)
    curve = curve_of(clean, corrupt, rng)

    def ratio(areas, gaps, axis):
        return areas.mean(axis) / gaps.mean(axis)

    areas = trapezoid(curve.pair_values - corrupt, KS, axis=0)
    tail = float(stats.norm.cdf(sqrt(60 / 59) * stats.t.ppf(0.025, 59)))
    limits = stats.bootstrap(
        (areas, clean - corrupt),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=5000,
        confidence_level=1 - 2 * tail,
        method="percentile",
    ).confidence_interval
    ours = cpr_interval(curve, Bootstrap(resamples=5000))
    assert ours.low == pytest.approx(limits.low, abs=0.1 * (limits.high - limits.low))
    assert ours.high == pytest.approx(limits.high, abs=0.1 * (limits.high - limits.low))


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 25])
def test_a_95_percent_interval_covers_about_95_percent(n, rng):
    truth = {"cpr": trapezoid(SHAPE, KS), "cmd": trapezoid(1 - np.array(SHAPE), KS)}
    covered = dict.fromkeys(truth, 0)
    for seed in range(400):
        sample = curve_of(*runs(n, rng), rng)
        for interval, area in AREAS:
            result = interval(sample, Bootstrap(resamples=400, seed=seed))
            covered[area] += not result.excludes(truth[area])
    for area, hits in covered.items():
        assert 0.92 <= hits / 400 <= 0.98, area


@pytest.mark.parametrize(("interval", "area"), AREAS)
def test_interval_without_variance_has_no_width(interval, area):
    clean, corrupt = np.array([2.0, 3.0, 5.0]), np.array([-1.0, 1.0, 0.0])
    curve = curve_of(clean, corrupt, np.random.default_rng(0), noise=0.0)
    result = interval(curve)
    assert result.low == pytest.approx(getattr(curve, area))
    assert result.high == pytest.approx(getattr(curve, area))


@pytest.mark.parametrize(("interval", "area"), AREAS)
def test_a_single_pair_sets_no_limits(curve, interval, area):
    one = take(curve, [0])
    assert interval(one) == Interval(getattr(one, area), -inf, inf)


def test_no_finite_limits_where_clean_and_corrupt_cannot_be_told_apart(rng):
    corrupt = rng.normal(size=20)
    clean = corrupt + 0.1 + np.tile([3.0, -3.0], 10)
    result = cpr_interval(curve_of(clean, corrupt, rng))
    assert (result.low, result.high) == (-inf, inf)
    assert np.isfinite(result.estimate)


def test_undefined_resamples_count_as_the_worst_value():
    # Of 4 pairs one carries the whole gap: (3/4)^4 = 32% of the resamples define no f.
    clean, corrupt = np.array([4.0, 0.0, 0.0, 0.0]), np.zeros(4)
    curve = curve_of(clean, corrupt, np.random.default_rng(0), noise=0.0)
    assert cpr_interval(curve).low == -inf
    many = take(curve, [0] * 5 + [1] * 5)  # 0.1% of the resamples
    result = cpr_interval(many, Bootstrap(level=0.9))
    assert (result.low, result.high) == pytest.approx((curve.cpr, curve.cpr))


@pytest.mark.parametrize("interval", [cpr_interval, cmd_interval])
@pytest.mark.parametrize(("scale", "shift"), [(100.0, 0.0), (-1.0, 0.0), (1.0, 7.0)])
def test_units_of_the_metric_do_not_matter(curve, interval, scale, shift):
    other = replace(
        curve,
        pair_values=scale * curve.pair_values + shift,
        clean=scale * curve.clean + shift,
        corrupt=scale * curve.corrupt + shift,
    )
    expected, result = interval(curve), interval(other)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))


def test_blocks_do_not_change_results(curve, two_curves, monkeypatch):
    expected = cpr_interval(curve), cpr_difference_p_value(*two_curves, resamples=500)
    monkeypatch.setattr(statistics, "_BLOCK", 100)
    result = cpr_interval(curve), cpr_difference_p_value(*two_curves, resamples=500)
    assert result[0].low == pytest.approx(expected[0].low)
    assert result[0].high == pytest.approx(expected[0].high)
    assert result[1] == expected[1]


def test_the_seed_decides_and_the_global_state_is_left_alone(curve, two_curves):
    before = global_state()
    assert cpr_interval(curve) == cpr_interval(curve)
    assert cpr_interval(curve) != cpr_interval(curve, Bootstrap(seed=1))
    cpr_difference_p_value(*two_curves)
    assert global_state() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 1.0}, "level=1.0: must be a number above 0 and below 1"),
        ({"level": 95.0}, "level=95.0: must be a number"),
        ({"resamples": 39}, "take at least 40"),
        ({"level": 0.999, "resamples": 1999}, "take at least 2000"),
    ],
)
def test_a_bootstrap_that_makes_no_sense_cannot_be_built(settings, message):
    with pytest.raises(ConfigError, match=message):
        Bootstrap(**settings)


def test_interval_checks_itself():
    with pytest.raises(ConfigError, match="low <= high"):
        Interval(0.5, 0.6, 0.4)
    with pytest.raises(ConfigError, match="low <= high"):
        Interval(0.5, float("nan"), 0.4)
    interval = Interval(0.5, 0.4, 0.6)
    assert interval.excludes(0.0)
    assert not interval.excludes(0.4)
    assert str(interval) == "0.500 [0.400, 0.600]"


# Two curves on the same pairs


def test_difference_interval_is_that_of_a_loop(two_curves):
    first, second = two_curves
    drawn = np.random.default_rng(8).integers(30, size=(300, 30))
    values = [take(first, pairs).cpr - take(second, pairs).cpr for pairs in drawn]
    result = cpr_difference_interval(first, second, Bootstrap(resamples=300, seed=8))
    assert (result.low, result.high) == pytest.approx(looped_limits(values, 30, 0.95))
    assert result.estimate == first.cpr - second.cpr


def test_difference_turns_its_sign_with_the_order(two_curves):
    first, second = two_curves
    one, other = cpr_difference_interval(first, second), cpr_difference_interval(second, first)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert cpr_difference_p_value(first, second) == cpr_difference_p_value(second, first)


def test_a_curve_does_not_differ_from_itself(curve):
    assert cpr_difference_interval(curve, curve) == Interval(0.0, 0.0, 0.0)
    assert cpr_difference_p_value(curve, curve) == 1.0
    assert cpr_difference_p_value(curve, curve, resamples=50) == 1.0


def compared(*couples, family="one") -> Compared:
    """One seed for each couple of curves, one draw each."""
    return Compared(family, [([first], [second]) for first, second in couples])


@pytest.mark.parametrize("measure", ["cpr", "cmd"])
def test_interval_of_a_mean_over_tasks_of_one_family_is_that_of_a_loop(two_curves, rng, measure):
    clean, corrupt = runs(20, rng)
    fewer = curve_of(clean, corrupt, rng), curve_of(clean, corrupt, rng, shape=(0, 0.5, 0.7, 1))
    values = []
    for number, couple in enumerate([two_curves, fewer]):
        n = len(couple[0].clean)
        drawn = np.random.default_rng(8 + number).integers(n, size=(300, n))
        areas = [[getattr(take(one, pairs), measure) for one in couple] for pairs in drawn]
        values.append([first - second for first, second in areas])
    means = [sum(each) / 2 for each in zip(*values, strict=True)]
    tasks = [compared(two_curves), compared(fewer)]
    result = mean_interval(tasks, measure, Bootstrap(resamples=300, seed=8))
    assert (result.low, result.high) == pytest.approx(looped_limits(means, 20, 0.95))
    assert result.estimate == pytest.approx(
        np.mean([getattr(a, measure) - getattr(b, measure) for a, b in (two_curves, fewer)])
    )


def test_interval_of_a_mean_over_one_task_is_that_tasks(two_curves):
    assert mean_interval([compared(two_curves)]) == cpr_difference_interval(*two_curves)
    with pytest.raises(DataError, match="at least one task"):
        mean_interval([])
    with pytest.raises(DataError, match="at least one curve in each seed"):
        Compared("one", [])
    other = take(two_curves[1], range(29))
    with pytest.raises(DataError, match="same pairs"):
        compared(two_curves, (two_curves[0], other))


def raised(curve: FaithfulnessCurve, by: float) -> FaithfulnessCurve:
    """The curve with f higher by a constant within the grid, the same for every pair."""
    inner = np.array([[0.0], [1.0], [1.0], [0.0]])
    return replace(
        curve, pair_values=curve.pair_values + by * inner * (curve.clean - curve.corrupt)
    )


def test_the_interval_covers_means_of_further_families_and_seeds():
    """With hardly any noise between pairs: from the effects of 6 families and 3 seeds alone."""
    rng = np.random.default_rng(5)
    held = {"over families": 0, "tasks held fixed": 0}
    trials = 120
    truth = 0.2
    for _ in range(trials):
        clean, corrupt = runs(8, rng, spread=0.1)
        second = curve_of(clean, corrupt, rng, noise=0.01)
        seeds = rng.normal(0, 0.02, 3)
        tasks = []
        for family in range(6):
            effect = truth / 0.625 + rng.normal(0, 0.2)  # 0.625: the area under `raised`
            couples = [(raised(second, effect + seed), second) for seed in seeds]
            tasks.append(compared(*couples, family=str(family)))
        settings = Bootstrap(0.9, resamples=200)
        held["over families"] += not mean_interval(tasks, "cpr", settings).excludes(truth)
        alike = [replace(task, family="one") for task in tasks]
        held["tasks held fixed"] += not mean_interval(alike, "cpr", settings).excludes(truth)
    assert 0.83 * trials <= held["over families"] <= 0.98 * trials, held
    assert held["tasks held fixed"] < 0.7 * trials, held


def test_a_level_is_a_difference_from_nothing(two_curves):
    first, _ = two_curves
    result = mean_interval([Compared("one", [([first], [])])])
    assert result == cpr_interval(first)
    assert mean_interval([Compared("one", [([first], [])])], "cmd") == cmd_interval(first)
    with pytest.raises(DataError, match="some seeds only"):
        Compared("one", [([first], []), ([first], [first])])


def test_seeds_widen_the_interval_and_draws_are_averaged(two_curves):
    first, second = two_curves
    higher = raised(first, 0.3)
    one = mean_interval([compared(two_curves)])
    both = mean_interval([compared(two_curves, (higher, second))])
    assert both.high - both.low > 1.2 * (one.high - one.low)
    drawn = Compared("one", [([first, higher], [second])])
    assert mean_interval([drawn]).estimate == pytest.approx(both.estimate)
    assert drawn.by_seed("cmd") == [pytest.approx((first.cmd + higher.cmd) / 2 - second.cmd)]


def test_pairing_narrows_the_interval(rng):
    clean, corrupt = runs(40, rng, spread=3)
    first = curve_of(clean, corrupt, rng, noise=2.0)
    second = replace(first, pair_values=first.pair_values - 0.1 * np.array([[0], [1], [1], [0]]))
    paired, alone = cpr_difference_interval(first, second), cpr_interval(first)
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)
    assert paired.excludes(0)


@pytest.mark.parametrize("compare", [cpr_difference_interval, cpr_difference_p_value])
def test_comparisons_need_the_same_pairs_and_grid(two_curves, compare, rng):
    first, second = two_curves
    with pytest.raises(DataError, match="same pairs, got 30 and 29"):
        compare(first, take(second, range(29)))
    with pytest.raises(DataError, match=r"clean values differ in pairs \[0, 1\]"):
        compare(first, replace(second, clean=second.clean[[1, 0, *range(2, 30)]]))
    with pytest.raises(DataError, match="corrupt values differ"):
        compare(first, replace(second, corrupt=second.corrupt + 5))
    with pytest.raises(ConfigError, match="one grid"):
        compare(first, replace(second, ks=(0.0, 0.1, 0.5, 1.0)))
    rounded = replace(second, clean=second.clean * (1 + 1e-5))
    compare(first, rounded)


def test_exact_p_value_is_that_of_all_swaps(rng):
    clean, corrupt = runs(7, rng)
    first = curve_of(clean, corrupt, rng)
    second = curve_of(clean, corrupt, rng, shape=(0, 0.2, 0.8, 1))
    observed = abs(first.cpr - second.cpr)
    extreme = 0
    for swap in product([False, True], repeat=7):
        ours = np.where(swap, second.pair_values, first.pair_values)
        theirs = np.where(swap, first.pair_values, second.pair_values)
        difference = replace(first, pair_values=ours).cpr - replace(first, pair_values=theirs).cpr
        extreme += abs(difference) >= observed - 1e-12
    exact = cpr_difference_p_value(first, second)
    assert exact == extreme / 2**7
    assert exact == cpr_difference_p_value(first, second, seed=1)
    sampled = cpr_difference_p_value(first, second, resamples=126)
    assert sampled * 127 == pytest.approx(round(sampled * 127))
    assert sampled == pytest.approx(exact, abs=0.12)


def test_equal_sums_count_as_equally_extreme_whatever_their_rounding(rng):
    signs = np.array(list(product([-1, 1], repeat=9)))
    first = curve_of(np.ones(9), np.zeros(9), rng)
    for tenths in rng.integers(-9, 10, size=(20, 9)):
        second = replace(first, pair_values=first.pair_values - tenths / 10)
        expected = (abs(signs @ tenths) >= abs(tenths.sum())).mean()
        assert cpr_difference_p_value(first, second) == expected


def test_p_value_agrees_with_scipy(two_curves):
    first, second = two_curves
    areas = [trapezoid(curve.pair_values, KS, axis=0) for curve in two_curves]
    expected = stats.permutation_test(
        areas,
        lambda ours, theirs, axis: (ours - theirs).mean(axis),
        permutation_type="samples",
        vectorized=True,
    ).pvalue
    assert cpr_difference_p_value(first, second) == pytest.approx(expected, abs=0.02)


def test_p_values_are_uniform_under_the_null(rng):
    clean, corrupt = runs(15, rng)
    values = [
        cpr_difference_p_value(
            curve_of(clean, corrupt, rng), curve_of(clean, corrupt, rng), resamples=199, seed=seed
        )
        for seed in range(400)
    ]
    assert stats.kstest(values, "uniform").pvalue > 0.01
    assert 0.025 <= np.mean(np.array(values) <= 0.05) <= 0.08


def test_a_clear_difference_has_the_smallest_p_value(rng):
    clean, corrupt = runs(40, rng)
    first = curve_of(clean, corrupt, rng, noise=0.1)
    second = curve_of(clean, corrupt, rng, noise=0.1, shape=(0, 0, 0, 1))
    assert cpr_difference_p_value(first, second, resamples=999) == 1 / 1000
    with pytest.raises(ConfigError, match="at least one resample, got 0"):
        cpr_difference_p_value(first, second, resamples=0)


# Families of tests, seeds, ratios


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []
    for bad in ([0.1, float("nan")], [-0.1], [1.1]):
        with pytest.raises(NumericsError, match="lie in"):
            holm(bad)


def test_holm_rejects_what_stepping_down_rejects(rng):
    for _ in range(100):
        p = rng.beta(0.3, 3, size=rng.integers(1, 8))
        rejected = set()
        for step, test in enumerate(sorted(range(len(p)), key=lambda test: p[test])):
            if p[test] > 0.05 / (len(p) - step):
                break
            rejected.add(test)
        assert set(np.flatnonzero(holm(p) <= 0.05).tolist()) == rejected


def test_seed_spread_is_scipys():
    values = [0.5, 0.62, 0.47]
    spread = seed_spread(values, level=0.9)
    limits = stats.t.interval(0.9, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (spread.mean, spread.n) == (np.mean(values), 3)
    assert spread.sd == pytest.approx(np.std(values, ddof=1))
    assert spread.interval is not None
    assert (spread.interval.low, spread.interval.high) == pytest.approx(limits)
    assert spread.interval.estimate == spread.mean


def test_seed_spread_end_points():
    alone = seed_spread([0.4])
    assert (alone.mean, alone.sd, alone.n, alone.interval) == (0.4, None, 1, None)
    equal = seed_spread([0.1] * 3)
    assert equal.sd == 0
    assert equal.interval is not None
    assert equal.interval.low == equal.interval.high == equal.mean == pytest.approx(0.1)
    for bad in ([], [0.1, float("nan")]):
        with pytest.raises(NumericsError, match="at least one value, all finite"):
            seed_spread(bad)
    with pytest.raises(ConfigError, match="level=2: must be a number"):
        seed_spread([0.4], level=2)


def test_recovery_by_hand():
    result = recovery(0.55, 0.8, 0.3, floor=0.25)
    assert result.ratio == pytest.approx(0.6875)
    assert result.above_floor == pytest.approx(0.5)
    assert result.reason is None
    assert recovery(0.55, Interval(0.8, 0.4, 0.9), 0.3, floor=0.25) == result
    assert recovery(0.8, 0.8, 0.3, floor=0.25).above_floor == 1
    assert recovery(0.3, 0.8, 0.3, floor=0.25).above_floor == 0


@pytest.mark.parametrize(
    ("gold", "random", "reason"),
    [
        (0.255, 0.1, r"gold CPR 0.255 is not above the floor (0.250)"),
        (0.2, 0.1, r"gold CPR 0.200 is not above the floor (0.250)"),
        (0.4, 0.5, r"gold CPR 0.400 is not above random W (0.500)"),
        (
            Interval(0.4, 0.2, 0.6),
            0.1,
            "the interval of gold CPR 0.400 [0.200, 0.600] reaches the floor (0.250)",
        ),
        (
            Interval(0.4, -inf, inf),
            0.3,
            "the interval of gold CPR 0.400 [-inf, inf] reaches random W (0.300)",
        ),
    ],
)
def test_recovery_of_a_gold_circuit_at_the_floor_is_undefined(gold, random, reason):
    result = recovery(0.4, gold, random, floor=0.25)
    assert (result.ratio, result.above_floor, result.reason) == (None, None, reason)


def test_recovery_checks_its_arguments():
    with pytest.raises(NumericsError, match="CPR must be finite"):
        recovery(float("nan"), 0.8, 0.3, floor=0.25)
    with pytest.raises(ConfigError, match="at least 0"):
        recovery(0.5, 0.8, 0.3, floor=0.25, tolerance=-1)


# Structure


def scores_of(n_layers, n_heads, values):
    return NodeScores(NodeSet(n_layers, n_heads), torch.as_tensor(values, dtype=torch.float32))


def layered(shares, n_heads=1):
    """Scores with these layer shares, evenly over heads and MLP, with alternating signs."""
    signs = [(-1) ** unit for unit in range(n_heads + 1)]
    return scores_of(len(shares), n_heads, [share * sign for share in shares for sign in signs])


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_score_correlation_is_scipys(rng, scale):
    gold = rng.normal(size=12)
    gold[3] = gold[5]  # a tie
    aligned = gold + rng.normal(size=12)
    result = score_correlation(scores_of(4, 2, scale * aligned), scores_of(4, 2, gold))
    assert result.pearson == pytest.approx(stats.pearsonr(aligned, gold)[0], abs=1e-6)
    gold32 = gold.astype(np.float32)
    assert result.spearman == pytest.approx(stats.spearmanr(aligned, gold32)[0], abs=1e-6)


def test_score_correlation_end_points(rng):
    gold = scores_of(3, 2, rng.normal(size=9))
    same = score_correlation(gold, gold)
    assert (same.pearson, same.spearman) == pytest.approx((1, 1))
    opposite = score_correlation(replace(gold, values=-gold.values), gold)
    assert (opposite.pearson, opposite.spearman) == pytest.approx((-1, -1))
    for value in (0.0, 0.1):
        none = score_correlation(scores_of(3, 2, [value] * 9), gold)
        assert (none.pearson, none.spearman) == (None, None)
    with pytest.raises(ScoresError, match="the model compared with has 9 nodes"):
        score_correlation(scores_of(3, 1, rng.normal(size=6)), gold)


def test_top_overlap_is_jaccard_of_sets(rng):
    aligned, gold = (scores_of(4, 3, rng.normal(size=16)) for _ in range(2))
    for k in (0.1, 0.25, 0.5, 0.9):
        ours, theirs = (set(scores.top(int(k * 16))) for scores in (aligned, gold))
        assert top_overlap(aligned, gold, k) == len(ours & theirs) / len(ours | theirs)
    ours, theirs = (replace(scores, values=scores.values.abs()) for scores in (aligned, gold))
    assert top_overlap(aligned, gold, 0.3, absolute=True) == top_overlap(ours, theirs, 0.3)


def test_top_overlap_end_points():
    rising = scores_of(2, 1, [1.0, 2, 3, 4])
    falling = scores_of(2, 1, [4.0, 3, 2, 1])
    assert top_overlap(rising, rising, 0.5) == 1
    assert top_overlap(rising, falling, 0.5) == 0
    assert top_overlap(rising, falling, 1.0) == 1
    assert top_overlap(rising, falling, 0.2) is None
    # Constant scores keep the first nodes.
    assert top_overlap(scores_of(2, 1, [1.0] * 4), falling, 0.5) == 1
    with pytest.raises(ConfigError, match="proportion of nodes"):
        top_overlap(rising, falling, 10.0)
    with pytest.raises(ScoresError):
        top_overlap(rising, scores_of(2, 2, range(6)), 0.5)


def test_layer_profile_is_that_of_a_loop(rng):
    scores = scores_of(3, 2, rng.normal(size=9))
    sizes = [0.0] * 3
    for node in scores.nodes:
        sizes[node.layer] += abs(scores[node])
    assert layer_profile(scores) == pytest.approx(np.array(sizes) / sum(sizes))
    assert layer_profile(scores_of(2, 2, [0.0] * 6)) is None


def test_profile_correlation_by_hand():
    # Depths of 2 layers: 1/4, 3/4; of 4 layers: 1/8, 3/8, 5/8, 7/8. Interpolated, (1, 3) becomes
    # 1, 1.5, 2.5, 3.
    source, aligned = layered([1.0, 3.0]), layered([2.0, 1.0, 3.0, 5.0], n_heads=3)
    expected = stats.pearsonr([1, 1.5, 2.5, 3], [2, 1, 3, 5])[0]
    result = profile_correlation(source, aligned)
    assert result.pearson == pytest.approx(expected)
    assert result.spearman == pytest.approx(0.8)
    swapped = profile_correlation(aligned, source)
    assert (swapped.pearson, swapped.spearman) == pytest.approx((expected, 0.8))


def test_profile_correlation_end_points(rng):
    scores = layered([1.0, 4.0, 2.0])
    assert profile_correlation(scores, scores).pearson == pytest.approx(1)
    rescaled = replace(scores, values=-7 * scores.values)
    assert profile_correlation(scores, rescaled).pearson == pytest.approx(1)
    for flat in (layered([1.0]), layered([2.0, 2.0, 2.0, 2.0]), layered([0.0, 0.0])):
        result = profile_correlation(flat, scores)
        assert (result.pearson, result.spearman) == (None, None)
