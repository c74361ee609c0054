"""The rows of the table: what each measures, on which data, and what it is to reach.

Targets were set on a machine with B = 0.04 us and L = 0.25 us and are held as ratios to those.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import frames, live, panel, prices, report

_BARS = 1_000_000
_SYMBOLS, _DAYS = 500, 1_260
_SESSION = 100_000
_LATENCY = (
    ("p50_us", "us p50"),
    ("p99_us", "us p99"),
    ("durable_p99_ms", "ms p99"),
    ("bare_us", "us p99 for two bare hand-overs between threads"),
)


class Work(NamedTuple):
    """What is measured: a small run that loads everything, the run itself, and its items."""

    warm: Callable[[], object]
    run: Callable[[], Any]
    items: int


class Row(NamedTuple):
    """One row.

    Attributes:
        prepare: makes its data in a folder, given by what to divide the sizes.
        work: reads the data and returns the work.
        target: in words.
        limits: in numbers: ("B", most), ("L", most), ("mb", most), ("cpu_s", most).
        repeats: the best of so many counts.
        memory: measures one run's memory and seconds instead of the CPU time per item.
        alone: the run itself returns what it measured.
        shows: values of a row without microseconds, with their units.
        peer: another library.
    """

    name: str
    title: str
    prepare: Callable[[Path, int], None]
    work: Callable[[Path, int], Work]
    target: str = ""
    limits: tuple[tuple[str, float], ...] = ()
    repeats: int = 5
    memory: bool = False
    alone: bool = False
    shows: tuple[tuple[str, str], ...] = ()
    peer: bool = False


# ---------------------------------------------------------------- backtests


def _minutes(folder: Path, scale: int) -> None:
    prices.make(folder, "bars", _BARS // scale)


def _trades(folder: Path, scale: int) -> None:
    prices.make(folder, "trades", _BARS // scale, timeframe="1s")


def _days(folder: Path, scale: int) -> None:
    prices.make(folder, "bars", _DAYS, symbols=_SYMBOLS // scale, timeframe="1D")


def _backtest_of(name: str, kind: str = "bars") -> Callable[[Path, int], Work]:
    """Return the work of a backtest, the report's metrics and fills included."""

    def work(folder: Path, scale: int) -> Work:
        from benchmarks import strategies

        strategy = getattr(strategies, name)
        if name.startswith("Momentum"):
            count = _SYMBOLS // scale
            data = prices.read(folder, "bars", _DAYS, symbols=count)
            first = {symbol: data[symbol].iloc[:200] for symbol in list(data)[:60]}
            items = count * _DAYS
        else:
            items = _BARS // scale
            data = prices.read(folder, kind, items)
            first = data.iloc[:2_000]
        return Work(lambda: _report(strategy, first), lambda: _report(strategy, data), items)

    return work


def _report(strategy: Any, data: Any) -> Any:
    import regimeflow as rf

    report = rf.backtest(strategy, data, cash=10_000_000, progress=False)
    _ = report.metrics["sharpe"], len(report.fills)
    return report


# ---------------------------------------------------------------- journal


def _session(folder: Path, scale: int) -> None:
    """Record a live session on the simulator."""
    import regimeflow as rf
    from benchmarks.strategies import Crossings

    if (folder / "session").exists():
        return
    n = _SESSION // scale
    prices.make(folder, "bars", n)
    venue = rf.venues.Simulated(prices.read(folder, "bars", n), speed=None)
    rf.LiveSession(Crossings, venue, run_dir=folder / "session").run(progress=False)


def _journal(*, sync: bool) -> Callable[[Path, int], Work]:
    """Return the work of writing the events of that session once more."""

    def work(folder: Path, scale: int) -> Work:
        from regimeflow.journal import Disk, events

        recorded = [(event, outputs) for _, event, outputs in events(folder / "session")]

        def write(count: int) -> None:
            _write(folder / "again", recorded[:count], Disk(), sync=sync)

        return Work(lambda: write(1_000), lambda: write(len(recorded)), len(recorded))

    return work


def _journal_waiting(folder: Path, scale: int) -> Work:
    """Return the same work, timed on the wall: how long it takes, and how long the syncs do."""
    from regimeflow.journal import Disk, events

    class Timed(Disk):
        def __init__(self) -> None:
            self.syncs: list[float] = []

        def sync(self, fd: int) -> None:
            begun = time.perf_counter()
            super().sync(fd)
            self.syncs.append(time.perf_counter() - begun)

    recorded = [(event, outputs) for _, event, outputs in events(folder / "session")]

    def write(count: int) -> dict[str, float]:
        disk, begun = Timed(), time.perf_counter()
        _write(folder / "again", recorded[:count], disk, sync=True)
        wall_s, waited_s = time.perf_counter() - begun, sum(disk.syncs)
        return {
            "wall_us": wall_s / count * 1e6,
            "waited_us": waited_s / count * 1e6,
            "sync_us": waited_s / len(disk.syncs) * 1e6,
        }

    def best() -> dict[str, float]:
        return min((write(len(recorded)) for _ in range(5)), key=lambda run: run["wall_us"])

    return Work(lambda: write(1_000), best, len(recorded))


def _write(run_dir: Path, recorded: list[Any], disk: Any, *, sync: bool) -> None:
    from regimeflow.journal import JournalWriter

    shutil.rmtree(run_dir, ignore_errors=True)
    with JournalWriter(run_dir, "again", sync=sync, disk=disk) as journal:
        record = journal.record
        for event, outputs in recorded:
            record(event, outputs)


def _recorded(folder: Path, scale: int) -> None:
    """Record a backtest."""
    import regimeflow as rf
    from benchmarks.strategies import Crossings

    _minutes(folder, scale)
    _session(folder, max(10, scale))  # a small one, that loads everything
    data = prices.read(folder, "bars", _BARS // scale)
    rf.backtest(Crossings, data, journal=folder / "recorded", progress=False)


def _certify(folder: Path, scale: int) -> Work:
    """Certify it."""
    import regimeflow as rf
    from benchmarks.strategies import Crossings

    def certify(name: str) -> None:
        certificate = rf.certify(folder / name, strategy=Crossings, progress=False)
        if not certificate.identical:
            raise AssertionError(str(certificate))

    return Work(lambda: certify("session"), lambda: certify("recorded"), _BARS // scale)


# ---------------------------------------------------------------- others


def _backtesting_py(folder: Path, scale: int) -> Work:
    """backtesting.py on the first row's data and strategy."""
    import warnings

    import pandas as pd

    warnings.simplefilter("ignore")
    import backtesting

    def mean(values: Any, n: int) -> Any:
        return pd.Series(values).rolling(n).mean()

    class Cross(backtesting.Strategy):
        def init(self) -> None:
            self.quick = self.I(mean, self.data.Close, 20)
            self.calm = self.I(mean, self.data.Close, 50)
            self.above = False

        def next(self) -> None:
            above = self.quick[-1] > self.calm[-1]
            if above != self.above:
                self.above = above
                if above:
                    self.buy(size=100)
                else:
                    self.sell(size=100)

    # Without its progress bar, as in the other rows.
    backtesting.backtesting._tqdm = lambda items, **_: items
    items = _BARS // scale
    data = prices.read(folder, "bars", items).rename(columns=str.capitalize)

    def run(frame: Any) -> Any:
        return backtesting.Backtest(frame, Cross, cash=10_000_000).run()

    return Work(lambda: run(data.iloc[:2_000]), lambda: run(data), items)


#: The rows in the order of the table.
ROWS = {
    row.name: row
    for row in (
        Row(
            "crossings",
            "1,000,000 one-minute bars, SMA 20/50 cross, orders at the crossings",
            _minutes,
            _backtest_of("Crossings"),
            "3 L (0.75 us)",
            (("L", 3.0),),
        ),
        Row(
            "target",
            "the same with `target` on every bar",
            _minutes,
            _backtest_of("SmaCross"),
            "27.5 B (1.1 us)",
            (("B", 27.5),),
        ),
        Row(
            "empty",
            "the same with an empty `on_bar`",
            _minutes,
            _backtest_of("Nothing"),
            "11.25 B (0.45 us)",
            (("B", 11.25),),
        ),
        Row(
            "momentum",
            "500 symbols x 1,260 days, monthly top 50 by 60-day momentum, `on_bars`",
            _days,
            _backtest_of("Momentum"),
            "5 B (0.2 us)",
            (("B", 5.0),),
        ),
        Row(
            "momentum-by-bar",
            "the same with `on_bar`",
            _days,
            _backtest_of("MomentumByBar"),
            "12.5 B (0.5 us)",
            (("B", 12.5),),
        ),
        Row(
            "trades",
            "1,000,000 trades, EWMA on each, rare orders",
            _trades,
            _backtest_of("Ewma", "trades"),
            "10 B (0.4 us)",
            (("B", 10.0),),
        ),
        Row(
            "memory",
            "peak memory over the frame itself, first row",
            _minutes,
            _backtest_of("Crossings"),
            "150 MB",
            (("mb", 150.0),),
            memory=True,
            shows=(("mb", "MB"),),
        ),
        Row(
            "journal",
            "journalling a simulated live session, an event: the CPU of all threads, with what the "
            "system takes for a sync before each decision leaves",
            _session,
            _journal(sync=True),
            "150 B (6 us)",
            (("B", 150.0),),
        ),
        Row(
            "journal-unsynced",
            "the same without the syncs",
            _session,
            _journal(sync=False),
        ),
        Row(
            "journal-waiting",
            "the same with the syncs on the wall clock, an event; of that, waiting for the disk; "
            "and what one sync takes",
            _session,
            _journal_waiting,
            alone=True,
            shows=(("wall_us", "us"), ("waited_us", "us waiting"), ("sync_us", "us a sync")),
        ),
        Row(
            "certify",
            "certifying a recorded run of 1,000,000 bars; memory over what is loaded",
            _recorded,
            _certify,
            "20 s, flat memory",
            (("cpu_s", 20.0), ("mb", 50.0)),
            memory=True,
            shows=(("cpu_s", "s"), ("mb", "MB")),
        ),
        Row(
            "live",
            "a live session on trades with journal, shadow and twin, rare orders, an event",
            live.trades,
            lambda folder, scale: Work(*live.throughput(folder, scale)),
            "1,250 B (50 us: 20,000 a second)",
            (("B", 1_250.0),),
        ),
        Row(
            "live-resume",
            "taking up a session whose journal has 1,000,000 events, without a snapshot",
            live.interrupted,
            lambda folder, scale: Work(*live.resume(folder, scale, snapshots=False)),
            "15 s",
            (("cpu_s", 15.0),),
            memory=True,
            shows=(("cpu_s", "s"), ("mb", "MB")),
        ),
        Row(
            "live-resume-snapshot",
            "the same from a snapshot, as the session left it",
            live.interrupted,
            lambda folder, scale: Work(*live.resume(folder, scale, snapshots=True)),
            "2 s",
            (("cpu_s", 2.0),),
            memory=True,
            shows=(("cpu_s", "s"), ("mb", "MB")),
        ),
        Row(
            "live-latency",
            "200 trades a second, an order on each fourth, detached: from the inbox to the request "
            "at the adapter, without the sync; until the intent is on the disk",
            live.no_data,
            lambda folder, scale: Work(*live.latency(folder, scale, detached=True)),
            "300 us p99, 10 ms p99",
            (("p99_us", 300.0), ("durable_p99_ms", 10.0)),
            alone=True,
            shows=_LATENCY,
        ),
        Row(
            "live-latency-here",
            "the same in the notebook's own process",
            live.no_data,
            lambda folder, scale: Work(*live.latency(folder, scale, detached=False)),
            alone=True,
            shows=_LATENCY,
        ),
        Row(
            "panel-update",
            "a panel of 2,000 bars and 200 fills: all of the kernel's CPU for an update, and what "
            "is sent at full rate",
            panel.bars,
            lambda folder, scale: Work(*panel.update(folder, scale)),
            "1.5 ms, 20 KB a second",
            (("cpu_ms", 1.5), ("kb_per_s", 20.0)),
            alone=True,
            shows=(("cpu_ms", "ms CPU"), ("kb_per_s", "KB/s")),
        ),
        Row(
            "panel-frames",
            "that panel in a browser without a screen, updated at full rate",
            panel.bars,
            lambda folder, scale: Work(*frames.in_browser(folder, scale)),
            "60 frames a second",
            (("frame_ms", 17.0),),
            alone=True,
            shows=(
                ("fps", "frames/s"),
                ("page_ms", "ms CPU of the page an update"),
                ("late_ms", "ms for all but 1 % of them"),
            ),
        ),
        Row(
            "panel-beside",
            "the latency row with three dashboards open in the notebook, and alone; the best of "
            "three each",
            live.no_data,
            lambda folder, scale: Work(*panel.beside(folder, scale, detached=True)),
            "20 % over alone",
            (("grown_pct", 20.0),),
            alone=True,
            shows=(("p99_us", "us p99"), ("alone_us", "us alone"), ("grown_pct", "%")),
        ),
        Row(
            "panel-beside-here",
            "the same with the session in the notebook's own process",
            live.no_data,
            lambda folder, scale: Work(*panel.beside(folder, scale, detached=False)),
            alone=True,
            shows=(("p99_us", "us p99"), ("alone_us", "us alone"), ("grown_pct", "%")),
        ),
        Row(
            "report-open",
            "a report's panel and static face, of a run that is not folded yet; then a quarter",
            _minutes,
            lambda folder, scale: Work(*report.opened(folder, scale, _BARS)),
            "2 s",
            (("open_s", 2.0),),
            alone=True,
            shows=(("open_s", "s"), ("closer_ms", "ms closer"), ("sent_kb", "KB sent")),
        ),
        Row(
            "report-cell",
            "what that report's cell leaves in a saved notebook",
            _minutes,
            lambda folder, scale: Work(*report.opened(folder, scale, _BARS)),
            "150 KB",
            (("cell_kb", 150.0),),
            alone=True,
            shows=(("cell_kb", "KB"),),
        ),
        Row(
            "backtesting.py",
            "backtesting.py: the first row",
            _minutes,
            _backtesting_py,
            repeats=2,
            peer=True,
        ),
    )
}
