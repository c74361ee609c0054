"""Indicators: numbers a trader can check by hand, and both forms equal to the last bit."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.engine.cursor import Cursor
from regimeflow.engine.indicators import (
    ATR,
    EMA,
    ROC,
    RSI,
    SMA,
    Bollinger,
    Donchian,
    Indicator,
    RollingMax,
    RollingMean,
    RollingMin,
    RollingStd,
    ZScore,
)
from regimeflow.engine.indicators.base import same_bits
from regimeflow.errors import ConfigError
from regimeflow.model.market import FloatArray

NAN = math.nan

#: One of each, for a window.
ALL: dict[str, Callable[[int], Indicator]] = {
    "SMA": SMA,
    "EMA": EMA,
    "EMA alpha": lambda n: EMA(alpha=1.0 / n),
    "RSI": RSI,
    "ATR": ATR,
    "Bollinger": lambda n: Bollinger(n, 2.5),
    "Donchian": Donchian,
    "RollingStd": lambda n: RollingStd(n + 1),
    "RollingStd population": lambda n: RollingStd(n, ddof=0),
    "RollingMin": RollingMin,
    "RollingMax": RollingMax,
    "ZScore": lambda n: ZScore(n + 1),
    "ROC": ROC,
}
WINDOWED = sorted(set(ALL) - {"EMA", "EMA alpha", "RSI", "ATR"})


def stream(indicator: Indicator, *columns: Sequence[float]) -> dict[str, list[float]]:
    """Push every row; return what each output read after it."""
    seen: dict[str, list[float]] = {name: [] for name in indicator.outputs}
    for row in zip(*columns, strict=True):
        indicator.push(*row)
        for name, values in seen.items():
            values.append(getattr(indicator, name))
    return seen


def values(indicator: Indicator, *columns: Sequence[float]) -> list[float]:
    return stream(indicator, *columns)["value"]


def walk(size: int, seed: int = 7) -> FloatArray:
    return 100.0 + np.cumsum(np.random.default_rng(seed).normal(0.0, 0.5, size))


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("indicator", "closes", "expected"),
    [
        (SMA(3), [1, 2, 6, 4, -1], [NAN, NAN, 3, 4, 3]),
        (SMA(1), [1, 2, 6], [1, 2, 6]),
        # alpha = 2 / (3 + 1) = 1/2, from the first value on: 1, 2, 3, 5
        (EMA(3), [1, 3, 4, 7], [NAN, NAN, 3, 5]),
        (EMA(alpha=0.25), [8, 4, 4, 4, 4, 4, 4], [NAN] * 6 + [4 + 4 * 0.75**6]),
        # changes +1 -1 +2 | +1 0: mean gain 1, 1, 2/3; mean loss 1/3, 2/9, 4/27
        (RSI(3), [10, 11, 10, 12, 13, 13], [NAN] * 3 + [75, 900 / 11, 900 / 11]),
        (RSI(2), [1, 2, 3, 4], [NAN, NAN, 100, 100]),
        (RSI(2), [4, 3, 2, 1], [NAN, NAN, 0, 0]),
        (RSI(2), [5, 5, 5, 5], [NAN, NAN, 50, 50]),
        # 2 4 4 6 about 4: squares 4 0 0 4; 4 4 6 8 about 5.5: 2.25 2.25 0.25 6.25
        (RollingStd(4, ddof=0), [2, 4, 4, 6, 8], [NAN] * 3 + [math.sqrt(2), math.sqrt(2.75)]),
        (RollingStd(2), [1, 3, 3], [NAN, math.sqrt(2), 0]),
        (ZScore(2), [1, 3, 3, 1], [NAN, math.sqrt(0.5), NAN, -math.sqrt(0.5)]),
        (RollingMin(2), [3, 5, 4, 4, 1], [NAN, 3, 4, 4, 1]),
        (RollingMax(2), [3, 5, 4, 4, 1], [NAN, 5, 5, 4, 4]),
        (ROC(2), [100, 101, 105, 0, 21, 7], [NAN, NAN, 0.05, -1, -0.8, NAN]),
    ],
    ids=lambda value: repr(value) if isinstance(value, Indicator) else "",
)
def test_hand_checked(indicator: Indicator, closes: list[float], expected: list[float]) -> None:
    assert values(indicator, [float(x) for x in closes]) == pytest.approx(
        expected, abs=1e-12, nan_ok=True
    )


def test_atr_is_wilders() -> None:
    # True ranges: 2 (no close before), max(3, |13-11|, |10-11|) = 3, gap up: 16 - 12 = 4,
    # gap down: 15 - 9 = 6. Averages of two: 2.5, then (2.5 + 4) / 2, (3.25 + 6) / 2.
    high, low, close = [12.0, 13.0, 16.0, 10.0], [10.0, 10.0, 14.0, 9.0], [11.0, 12.0, 15.0, 9.5]
    assert values(ATR(2), high, low, close) == pytest.approx([NAN, 2.5, 3.25, 4.625], nan_ok=True)


def test_bollinger_bands() -> None:
    bands = Bollinger(4, k=2.0)
    stream(bands, [2.0, 4.0, 4.0, 6.0])
    assert bands.value == bands.middle == 4.0
    assert bands.upper == pytest.approx(4 + 2 * math.sqrt(2))
    assert bands.lower == pytest.approx(4 - 2 * math.sqrt(2))


def test_donchian_channel_holds_the_newest_bar() -> None:
    channel = Donchian(2)
    seen = stream(channel, [10.0, 12.0, 11.0, 11.5], [8.0, 9.0, 7.0, 10.0])
    assert seen["upper"][1:] == [12, 12, 11.5]
    assert seen["lower"][1:] == [8, 7, 7]
    assert seen["value"][1:] == [10, 9.5, 9.25]
    assert math.isnan(seen["upper"][0])
    assert channel.middle == 9.25


@pytest.mark.parametrize(
    ("indicator", "first_ready"),
    [
        (SMA(5), 4), (EMA(5), 4), (EMA(alpha=1 / 3), 4), (RSI(5), 5), (ATR(5), 4),
        (Bollinger(5), 4), (Donchian(5), 4), (RollingStd(5), 4), (ZScore(5), 4),
        (RollingMin(5), 4), (RollingMax(5), 4), (ROC(5), 5),
    ],
    ids=repr,
)  # fmt: skip
def test_ready_from(indicator: Indicator, first_ready: int) -> None:
    closes = walk(12).tolist()
    ready = []
    for close in closes:
        indicator.push(*[close] * len(indicator.inputs))
        ready.append(indicator.ready)
    assert ready == [False] * first_ready + [True] * (12 - first_ready)


# ---------------------------------------------------------------- long series, other formulas


@pytest.mark.parametrize("n", [2, 20, 333])
def test_windows_agree_with_plain_formulas(n: int) -> None:
    x = walk(2_000)
    windows = np.lib.stride_tricks.sliding_window_view(x, n)

    def close_to(indicator: Indicator, expected: Any) -> None:
        assert values(indicator, x.tolist())[n - 1 :] == pytest.approx(list(expected), rel=1e-9)

    close_to(SMA(n), [math.fsum(w) / n for w in windows.tolist()])
    close_to(SMA(n), np.convolve(x, np.full(n, 1 / n), mode="valid"))
    close_to(RollingStd(n), windows.std(axis=1, ddof=1))
    close_to(RollingMin(n), windows.min(axis=1))
    close_to(RollingMax(n), windows.max(axis=1))
    close_to(ZScore(n, ddof=0), (x[n - 1 :] - windows.mean(axis=1)) / windows.std(axis=1))
    assert values(ROC(n), x.tolist())[n:] == pytest.approx(list(x[n:] / x[:-n] - 1), rel=1e-9)


def test_ema_is_the_weighted_sum_it_unrolls_to() -> None:
    x, n = walk(300), 9
    a = 2 / (n + 1)
    weights = a * (1 - a) ** np.arange(299, -1, -1)
    weights[0] = (1 - a) ** 299  # the first value seeds
    assert values(EMA(n), x.tolist())[-1] == pytest.approx(float(weights @ x), rel=1e-12)


def test_std_keeps_its_digits_far_from_zero() -> None:
    # The textbook formula E[x^2] - E[x]^2 has no correct digit left here.
    x = 1e9 + np.tile([0.0, 1e-3], 50)
    assert values(RollingStd(10, ddof=0), x.tolist())[-1] == pytest.approx(5e-4, rel=1e-4)


def test_a_flat_price_gives_exactly_itself() -> None:
    flat = [0.1] * 200
    fast, slow = values(SMA(10), flat), values(SMA(30), flat)
    assert set(fast[9:]) == set(slow[29:]) == {0.1}, "averages of a flat price must not cross"
    assert set(values(EMA(10), flat)[9:]) == {0.1}
    assert set(values(RollingStd(10), flat)[9:]) == {0.0}


# ---------------------------------------------------------------- both forms, bit for bit

plain = st.floats(-1e6, 1e6)
flat_piece = st.tuples(plain, st.integers(1, 12)).map(lambda p: [p[0]] * p[1])
odd = st.sampled_from([NAN, 1e15, -1e15, 1e-300, 0.0, -0.0, math.inf, -math.inf])
pieces = st.one_of(flat_piece, st.lists(plain, max_size=12), st.lists(odd, max_size=2))
series = st.lists(pieces, max_size=8).map(lambda parts: [x for part in parts for x in part])


def columns_of(indicator: Indicator, x: Sequence[float]) -> list[FloatArray]:
    """The series as every input; mirrored for the second, rotated for the third."""
    column = np.array(x, dtype=np.float64)
    return [column, -column, np.roll(column, 1)][: len(indicator.inputs)]


@pytest.mark.parametrize("name", sorted(ALL))
@settings(max_examples=80, deadline=None)
@given(x=series, n=st.integers(1, 12))
def test_vectorised_equals_streaming_bit_for_bit(name: str, x: list[float], n: int) -> None:
    indicator = ALL[name](n)
    columns = columns_of(indicator, x)
    ahead, cursor = indicator.fresh(), Cursor()
    cursor.attach(ahead, columns)
    assert not ahead.ready, "nothing is known before the first bar"
    for row in zip(*(column.tolist() for column in columns), strict=True):
        cursor.step()
        indicator.push(*row)
        assert ahead.ready == indicator.ready
        for output in (*indicator.outputs, "value"):
            fast, slow = getattr(ahead, output), getattr(indicator, output)
            assert same_bits(fast, slow), f"{indicator} {output} at {cursor.i}: {fast!r} {slow!r}"


@pytest.mark.parametrize("name", sorted(ALL))
def test_vectorised_equals_streaming_over_many_blocks(name: str) -> None:
    x = walk(40_000)
    x[[5_000, 20_001]] = 1e12, NAN
    for n in (1, 7, 500):
        indicator = ALL[name](n)
        indicator.verify(*columns_of(indicator, x.tolist()), rows=len(x))


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("bad", [NAN, 1e15, math.inf])
def test_what_left_the_window_leaves_no_trace(name: str, bad: float) -> None:
    n, at = 6, 20
    window = n + 2  # some look at n + 1 values
    clean = walk(60)
    dirty = clean.copy()
    dirty[at] = bad
    indicator = ALL[name](n)
    for form in ("streaming", "vectorised"):
        seen = []
        for x in (clean, dirty):
            columns, one = columns_of(indicator, x.tolist())[:2], indicator.fresh()
            if form == "streaming":
                seen.append(stream(one, *(column.tolist() for column in columns))["value"])
            else:
                result = one.vectorised(*columns)  # type: ignore[attr-defined]
                seen.append((result[0] if isinstance(result, tuple) else result).tolist())
        clean_values, dirty_values = seen
        assert dirty_values[:at] == pytest.approx(clean_values[:at], nan_ok=True)
        assert dirty_values[at + window :] == pytest.approx(clean_values[at + window :], rel=1e-9)
        if math.isnan(bad):
            inside = [at, at + n] if name == "ROC" else range(at, at + n)
            assert all(math.isnan(dirty_values[i]) for i in inside)


@pytest.mark.parametrize("name", ["EMA", "RSI", "ATR"])
@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_recursive_ones_pass_over_what_is_missing(name: str, bad: float) -> None:
    x = walk(60).tolist()
    holes = {0, 2, 20, 21}
    with_holes = []
    for i, value in enumerate(x):
        with_holes += [bad, value] if i in holes else [value]
    indicator = ALL[name](5)
    k = len(indicator.inputs)
    got = values(indicator, *[with_holes] * k)
    assert all(math.isnan(y) for y, value in zip(got, with_holes, strict=True) if value == bad)
    kept = [y for y, value in zip(got, with_holes, strict=True) if math.isfinite(value)]
    assert kept == pytest.approx(values(indicator.fresh(), *[x] * k), rel=0, abs=0, nan_ok=True)


# ---------------------------------------------------------------- one's own, and the binding


class Range(Indicator):
    inputs = ("high", "low")

    def update(self, high: float, low: float) -> float:
        return high - low

    def vectorised(self, high: FloatArray, low: FloatArray) -> FloatArray:
        return high - low


class Counter(Indicator):
    """Has its own __init__ that does not call ours, two outputs, and no vectorised form."""

    outputs = ("seen", "ups")
    seen: float
    ups: float

    def __init__(self, start: int = 0) -> None:
        self.count = self.up = start
        self.last = math.inf

    def update(self, x: float) -> tuple[float, float]:
        self.count += 1
        self.up += x > self.last
        self.last = x
        return self.count, self.up


def test_own_indicator_without_super_init() -> None:
    mine = Counter(10)
    assert math.isnan(mine.value)
    assert math.isnan(mine.ups)
    assert not mine.ready
    assert not mine.precomputable
    mine.push(1.0)
    mine.push(2.0)
    assert (mine.seen, mine.ups, mine.value, mine.ready) == (12.0, 11.0, 12.0, True)
    assert isinstance(mine.seen, float)
    assert (repr(mine), mine.fresh().count) == ("Counter(10)", 10)


def test_two_instances_share_nothing() -> None:
    one, two = SMA(1), SMA(1)
    one.push(5.0)
    assert not two.ready


def test_reading_through_a_shared_cursor() -> None:
    cursor, x = Cursor(), np.array([1.0, 2.0, 6.0])
    average, top = SMA(2), RollingMax(2)
    cursor.attach(average, [x])
    cursor.attach(top, [x])
    x[:] = 0.0  # what was computed does not hang on the caller's array
    seen = []
    for i in range(3):
        cursor.seek(i)
        seen.append((average.value, top.value))
    assert seen[1:] == [(1.5, 2.0), (4.0, 6.0)]
    assert type(average.value) is float
    cursor.seek(-1)
    assert math.isnan(average.value)


def test_a_subclass_with_another_update_does_not_inherit_vectorised() -> None:
    class Doubled(SMA):
        def update(self, x: float) -> float:
            return 2.0 * super().update(x)

    class Shifted(SMA):
        def __init__(self, n: int, by: float) -> None:
            super().__init__(n)
            self.by = by

    assert SMA.precomputable
    assert Shifted.precomputable
    assert not Doubled.precomputable
    with pytest.raises(ConfigError, match=r"Doubled\(3\) has no vectorised form"):
        Cursor().attach(Doubled(3), [walk(5)])


def test_verify_finds_a_vectorised_form_that_looks_ahead() -> None:
    class Ahead(Indicator):
        def update(self, x: float) -> float:
            return x

        def vectorised(self, column: FloatArray) -> FloatArray:
            return np.append(column[1:], column[-1:])

    Range().verify(walk(50), walk(50, seed=2))
    with pytest.raises(ConfigError, match=r"Ahead\(\): at row 0 update gives value = 1.0, .* 2.0"):
        Ahead().verify(np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("name", sorted(ALL))
def test_a_copy_goes_on_like_the_original(name: str, copied: Callable[[Any], Any]) -> None:
    x = walk(60).tolist()
    original = ALL[name](5)
    k = len(original.inputs)
    stream(original, *[x[:33]] * k)
    twin = copied(original)
    assert twin.value == original.value
    assert repr(twin) == repr(original)
    rest = stream(original, *[x[33:]] * k)
    assert stream(twin, *[x[33:]] * k) == rest


def test_a_copy_of_a_precomputed_one_has_the_values_of_the_moment() -> None:
    bands, cursor = Bollinger(2), Cursor()
    cursor.attach(bands, [np.array([1.0, 3.0, 5.0])])
    cursor.seek(1)
    twin = copy.deepcopy(bands)
    cursor.seek(2)
    assert (bands.middle, twin.middle, twin.upper) == (4.0, 2.0, 4.0)


def test_fresh_has_the_parameters_and_no_state() -> None:
    original = Bollinger(3, k=1.0)
    stream(original, [1.0, 2.0, 3.0, 4.0])
    again = original.fresh()
    assert (again.n, again.k, again.ready) == (3, 1.0, False)
    assert stream(again, [9.0, 9.0, 9.0])["value"][2] == 9.0


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (SMA(20), "SMA(20)"),
        (SMA(np.int64(20)), "SMA(20)"),  # type: ignore[arg-type]  # comes from a grid
        (EMA(alpha=0.1), "EMA(alpha=0.1)"),
        (Bollinger(), "Bollinger()"),
        (RollingMean(5), "SMA(5)"),
        (Range(), "Range()"),
    ],
)
def test_repr(made: Indicator, text: str) -> None:
    assert repr(made) == text


# ---------------------------------------------------------------- what is refused, and how


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SMA(0), "SMA: n must be a whole number of at least 1, got 0"),
        (lambda: SMA(2.5), "n must be a whole number of at least 1, got 2.5"),  # type: ignore[arg-type]
        (lambda: RSI(True), "RSI: n must be a whole number of at least 1, got True"),
        (lambda: RollingStd(1), "RollingStd: n must be a whole number of at least 2, got 1"),
        (EMA, "EMA: give either n or alpha"),
        (lambda: EMA(3, alpha=0.5), "EMA: give either n or alpha"),
        (lambda: EMA(alpha=1.5), r"alpha must lie in \(0, 1\]"),
        (lambda: Bollinger(20, k=-2), "Bollinger: k must be a positive finite number, got -2"),
        (lambda: Bollinger(20, k=NAN), "Bollinger: k must be a positive finite number, got nan"),
    ],
)
def test_parameters_that_make_no_sense(make: Callable[[], Indicator], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def own(**attributes: Any) -> type[Indicator]:
    return type("Mine", (Indicator,), {"update": lambda self, *x: x[0], **attributes})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"inputs": "close"}, "Mine.inputs must be a tuple of different names"),
        ({"outputs": ()}, "Mine.outputs must be a tuple of different names"),
        ({"outputs": ("a", "a")}, "Mine.outputs must be a tuple of different names"),
        ({"outputs": ("push",)}, "Mine.outputs: 'push' is an attribute already"),
    ],
)
def test_declarations_that_make_no_sense(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        own(**attributes)


def test_an_indicator_without_update() -> None:
    with pytest.raises(ConfigError, match=r"Mine has no update\(self, high, low\) method"):
        type("Mine", (Indicator,), {"inputs": ("high", "low")})()


@pytest.mark.parametrize(
    ("outputs", "result", "message"),
    [
        (("value",), None, r"Mine\(\): update must return a float .*, got None"),
        (("value",), (1.0, 2.0), r"Mine\(\): update must return a float .*, got \(1.0, 2.0\)"),
        (("a", "b"), 1.0, r"Mine\(\): update must return a tuple of floats \(a, b\), got 1.0"),
        (("a", "b"), (1.0,), r"Mine\(\): update must return a tuple of floats \(a, b\)"),
    ],
)
def test_update_returns_what_it_should_not(
    outputs: tuple[str, ...], result: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        own(outputs=outputs, update=lambda self, x: result)().push(1.0)


def test_vectorised_of_another_shape() -> None:
    with pytest.raises(ConfigError, match=r"must return 1 array\(s\) of shape \(3,\) for value"):
        Cursor().attach(own(vectorised=lambda self, x: x[1:])(), [np.ones(3)])
    with pytest.raises(ConfigError, match=r"ATR\(2\) takes 3 column\(s\) \(high, low, close\)"):
        Cursor().attach(ATR(2), [np.ones(3)])


def test_pushing_into_what_was_computed_ahead() -> None:
    for indicator in (SMA(2), Bollinger(2)):
        Cursor().attach(indicator, [np.ones(3)])
        with pytest.raises(ConfigError, match="computed ahead and takes no further bars"):
            indicator.push(1.0)
