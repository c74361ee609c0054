"""Secrets and hostile text through everything that a session writes and shows."""

from __future__ import annotations

import base64
import gzip
import random
import re
import tempfile
import traceback
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import regimeflow as rf
from regimeflow.redaction import Redactor, Secret
from regimeflow.session.audit import audit_of
from tests.soak.outcome import Outcome

PAYLOADS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "\"><svg onload=alert(3)>",
    "=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "-2+3", "${7*7}", "'; DROP TABLE x; --",
]  # fmt: skip

#: What a browser would take for its own, and what a spreadsheet would calculate.
_ALIVE = re.compile(r"<script>alert|<img src=x|<svg onload", re.IGNORECASE)
_FORMULA = re.compile(r"""(?:^|[,;\t])"?(?:=cmd|@SUM|\+1\+1|-2\+3)""", re.MULTILINE)


class Leaky(rf.Strategy):
    """Has a secret among its parameters, and says hostile things wherever text may stand."""

    api_key: str = ""
    note: str = ""
    fails: bool = False

    def on_bar(self, ctx: Any, bar: Any) -> None:
        dice = ctx.rng.random()
        if dice < 0.2:
            ctx.log(self.note)
        elif dice < 0.5:
            ctx.buy(bar.symbol, 1, tag=self.note)
        elif dice < 0.6:
            ctx.sell(bar.symbol, -1, tag=self.note)  # denied, with a reason
        elif dice < 0.7 and self.fails:
            raise ValueError(self.note)


def canaries(seed: int) -> Outcome:
    """Search all that a session leaves for a secret and for text that is alive; the unit is a run.

    The secret is a parameter whose name says so, and a `Secret` that the strategy's module holds.
    It is searched for as it is, in base64, in hex and quoted for URLs.
    """
    chance = random.Random(seed)
    canary = f"canary-{chance.getrandbits(64):016x}/+&"
    payload = chance.choice(PAYLOADS)
    held = Secret(canary)
    violations, counts = [], Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "run")
        strategy = Leaky(api_key=canary, note=payload, fails=chance.random() < 0.5)
        frame = rf.datasets.synthetic(n=60, seed=seed)
        venue = rf.venues.Simulated(frame, speed=None)
        session = rf.LiveSession(strategy, venue, run_dir=folder, seed=seed)
        session.run(progress=False)
        texts = dict(_written(folder)) | dict(_shown(session, folder, [held]))
    counts["texts"] = len(texts)
    for where, text in texts.items():
        for way in _encoded(canary):
            if way in text:
                violations.append(f"the secret stands in {where}")
                break
        if where.startswith("html") and _ALIVE.search(text):
            violations.append(f"{payload} is alive in {where}")
        if where.startswith("csv") and _FORMULA.search(text):
            violations.append(f"{payload} is a formula in {where}")
    return Outcome(1, violations, counts)


def _encoded(secret: str) -> list[str]:
    raw = secret.encode()
    return [
        secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), raw.hex(),
        base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(),
    ]  # fmt: skip


def _written(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "strategy.pkl":  # code: the user's own, to go on with
            data = path.read_bytes()
            text = gzip.decompress(data) if path.suffix == ".gz" else data
            kind = "csv" if path.suffix == ".csv" else "file"
            yield f"{kind} {path.name}", text.decode("utf-8", "replace")


def _shown(
    session: rf.LiveSession, folder: Path, secrets: list[Secret]
) -> Iterator[tuple[str, str]]:
    report = session.report()
    page = folder / "page.html"
    report.tearsheet(page)
    redact = Redactor(secrets).text
    yield "html of the session", session._repr_html_()
    yield "html of the report", report._repr_html_()
    yield "html of the tear sheet", page.read_text()
    yield "html of the certificate", rf.certify(folder, progress=False)._repr_html_()
    yield "csv of the audit", audit_of(folder, "csv", redact=redact)
    yield "jsonl of the audit", audit_of(folder, "jsonl", redact=redact)
    yield "repr of the session", f"{session!r} {session.status!r} {session.venue!r}"
    yield "repr of the report", repr(report)
    if session.failure is not None:
        yield "traceback", "".join(traceback.format_exception(session.failure))
