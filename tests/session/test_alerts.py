"""Whoever watches over a session hears of each degraded state, once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import regimeflow as rf
from regimeflow.errors import ConfigError
from regimeflow.model.events import (
    Adjusted,
    Command,
    Connection,
    Denied,
    Failed,
    Feed,
    Gap,
    OrderUpdate,
    Reconciled,
    Start,
    StateChanged,
)
from regimeflow.session import alerts as module
from regimeflow.session.alerts import Alerts

START = Start(0, 0, "watched", 0, ("SYN",), (60_000_000_000,), 1_000.0)


def state(after: str, why: str) -> StateChanged:
    return StateChanged(1, 1, "active", after, why)


#: What happens -> what is told: the reason, and a part of the sentence.
TOLD = [
    (Connection(1, 1, False, "reset by peer"), (), ("connection", "is lost: reset by peer")),
    (Feed(1, 1, "SYN", True, 9_000.0, 5_000.0), (), ("feed", "SYN are stale: 9.0 s old")),
    (Gap(1, 1, "the queue was full"), (), ("gap", "all symbols were lost: the queue was full")),
    (Reconciled(1, 1, False, why="no answer"), (), ("reconciled", "did not answer")),
    (Reconciled(1, 1, True, unmatched=("SYN",)), (), ("reconciled", "no event explains SYN")),
    (Reconciled(1, 1, True, foreign_orders=("7",)), (), ("reconciled", "orders not ours: 7")),
    (Adjusted(1, 1, "SYN", 5.0, 10.0, -50.0), (), ("adjusted", "+5 SYN at 10 taken into")),
    (OrderUpdate(1, 1, "x", "lost"), (), ("lost", "unknown")),
    (
        Command(1, 1, "go"),
        (Failed(1, 1, "on_bar", "SYN", "division by zero"),),
        ("failed", "the strategy failed in on_bar of SYN: division by zero"),
    ),
    (
        Command(1, 1, "cancel_all", "nobody is there", "kernel loss"),
        (state("reducing", "nobody is there"),),
        ("state_changed", "active -> reducing: nobody is there (by kernel loss)"),
    ),
    (
        Feed(1, 1, "SYN", False, 0.0, 5_000.0),
        (state("halted", "drawdown"),),
        ("state_changed", "active -> halted: drawdown"),
    ),
]
QUIET = [
    (Connection(1, 1, True), ()),
    (Feed(1, 1, "SYN", False, 0.0, 5_000.0), ()),
    (Reconciled(1, 1, True), ()),
    # The user's own doing, and the limits at work.
    (Command(1, 1, "halt", "lunch"), (state("halted", "lunch"),)),
    (Command(1, 1, "go"), (Denied(1, 1, "x", "SYN", "buy", 5.0, "max_position", "too much"),)),
]


def told(happened, **options) -> list[tuple[str, str]]:
    heard: list[tuple[str, str]] = []
    alerts = Alerts(lambda reason, text: heard.append((reason, text)), **options)
    alerts.begin()
    alerts.follow(START, ())
    for event, outputs in happened:
        alerts.follow(event, outputs)
    alerts.close()
    assert (alerts.told, alerts.failure) == (len(heard), "")
    return heard


@pytest.mark.parametrize(("event", "outputs", "expected"), TOLD)
def test_what_is_told(event, outputs, expected):
    ((reason, sentence),) = told([(event, outputs)])
    assert reason == expected[0]
    assert expected[1] in sentence


@pytest.mark.parametrize(("event", "outputs"), QUIET)
def test_what_is_nobody_s_alarm(event, outputs):
    assert told([(event, outputs)]) == []


def test_secrets_are_taken_out():
    (alert,) = told(
        [(Connection(1, 1, False, "key canary refused"), ())],
        redact=lambda text: text.replace("canary", "(hidden)"),
    )
    assert alert == ("connection", "the way to the venue is lost: key (hidden) refused")


def test_what_was_lived_through_before_is_not_told():
    heard: list[str] = []
    alerts = Alerts(lambda reason, text: heard.append(reason))
    alerts.follow(START, ())
    alerts.follow(Connection(1, 1, False), ())
    alerts.begin()
    alerts.follow(Gap(2, 2, "why"), ())
    alerts.close()
    assert heard == ["gap"]


@pytest.mark.parametrize("alert", [5, None, "example.org/hook", "ftp://example.org", ""])
def test_what_cannot_be_told(alert):
    with pytest.raises(ConfigError, match="alert= must be a callable"):
        Alerts(alert)


@pytest.mark.parametrize("alert", [lambda: None, [].append, lambda reason, text, more: None])
def test_who_would_not_take_both_texts_is_refused_at_once(alert):
    with pytest.raises(ConfigError, match="called with two texts"):
        Alerts(alert)


# ---------------------------------------------------------------- those who fail, and the slow


def test_whoever_fails_is_told_the_next_one_too():
    heard: list[str] = []

    def failing(reason: str, text: str) -> None:
        heard.append(reason)
        raise ValueError("a text with a canary")

    alerts = Alerts(failing)
    alerts.begin()
    alerts.follow(Connection(1, 1, False), ())
    alerts.follow(Gap(1, 1, "why"), ())
    alerts.close()
    assert heard == ["connection", "gap"]
    assert (alerts.told, alerts.failure) == (0, "an alert failed: ValueError")


def test_the_slow_are_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "_WAITING", 3)
    reached, go, heard = threading.Event(), threading.Event(), []

    def slow(reason: str, text: str) -> None:
        heard.append(text)
        reached.set()
        assert go.wait(60)

    alerts = Alerts(slow, patience_s=0.01)
    alerts.begin()
    alerts.follow(Gap(1, 1, "0"), ())
    assert reached.wait(60)
    for number in range(1, 10):  # three wait, and six are left out: none holds the engine up
        alerts.follow(Gap(1, 1, str(number)), ())
    assert alerts.failure == "alerts were left out: they came faster than they were taken"
    (thread,) = [t for t in threading.enumerate() if t.name == "regimeflow-alerts"]
    alerts.close()
    assert len(heard) == 1
    alerts.follow(Gap(1, 1, "after the end"), ())
    go.set()
    alerts.close()
    alerts._queue.put(None)
    thread.join(60)
    assert [text[-1] for text in heard] == ["0", "1", "2", "3"]


# ---------------------------------------------------------------- a webhook


class Hook(ThreadingHTTPServer):
    """A receiver on loopback that answers as it is asked to."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, str]] = []
        self.kinds: list[str] = []
        self.answer = 200
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.kinds.append(self.headers["Content-Type"])
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_webhook_is_sent_json(hook):
    alerts = Alerts(hook.url)
    alerts.begin()
    alerts.follow(START, ())
    alerts.follow(Connection(0, 1_700_000_000_000_000_000, False, 'a "quote"\n<b>'), ())
    alerts.close()
    assert (alerts.told, alerts.failure) == (1, "")
    assert hook.kinds == ["application/json"]
    assert hook.bodies == [
        {
            "run": "watched",
            "time": "2023-11-14T22:13:20Z",
            "reason": "connection",
            "text": 'the way to the venue is lost: a "quote"\n<b>',
        }
    ]


def test_a_webhook_that_refuses_is_a_failure_and_no_more(hook):
    hook.answer = 500
    alerts = Alerts(hook.url)
    alerts.begin()
    alerts.follow(Gap(1, 1, "why"), ())
    alerts.close()
    assert (alerts.told, alerts.failure) == (0, "an alert failed: HTTPError")
    assert len(hook.bodies) == 1


# ---------------------------------------------------------------- with a session


class Lossy(rf.Strategy):
    """Buys and sells the same, for a fee each time."""

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10.0 if ctx.position(bar.symbol) <= 0 else -10.0)


def lossy(folder, alert) -> rf.LiveSession:
    venue = rf.venues.Simulated(
        rf.datasets.synthetic(n=300, seed=3), speed=None, costs=rf.Costs(per_order=100.0)
    )
    return rf.LiveSession(
        Lossy(), venue, run_dir=folder, alert=alert, limits=rf.Limits(max_drawdown=0.02)
    )


def test_a_session_tells_of_a_limit_and_a_resumed_one_does_not_repeat_it(tmp_path):
    heard: list[tuple[str, str]] = []
    session = lossy(tmp_path / "run", lambda *alert: heard.append(alert)).run(progress=False)
    first, last = heard
    assert first[0] == last[0] == "state_changed"
    assert "active -> reducing: max_drawdown" in first[1]
    assert "reducing -> halted" in last[1]
    assert not [f for f in session.check() if f.name == "files"]
    # As it stood after the halt, before the end was written down; and before the limit.
    lines = (tmp_path / "run" / "journal-0001.jsonl").read_bytes().splitlines(keepends=True)
    changed = [i for i, line in enumerate(lines) if b'"state_changed"' in line]
    for place, expected in ((changed[-1] + 1, 0), (changed[0] - 20, 2)):
        again = tmp_path / f"again-{expected}"
        again.mkdir()
        for name in ("manifest.json", "strategy.pkl"):
            (again / name).write_bytes((tmp_path / "run" / name).read_bytes())
        (again / "journal-0001.jsonl").write_bytes(b"".join(lines[:place]))
        heard.clear()
        lossy(again, lambda *alert: heard.append(alert)).run(progress=False)
        assert [reason for reason, _ in heard] == ["state_changed"] * expected


def test_a_failed_alert_is_said_by_the_session(tmp_path):
    def failing(reason, text):
        raise OSError("no way out")

    session = lossy(tmp_path / "run", failing).run(progress=False)
    said = {finding.name: finding.text for finding in session.check() if not finding.ok}
    assert said["files"] == "an alert failed: OSError"
