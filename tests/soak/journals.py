"""Journals that were cut, changed and made up: what is read is a prefix, or it is refused."""

from __future__ import annotations

import functools
import gzip
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import regimeflow as rf
from regimeflow.errors import JournalError
from regimeflow.journal import JournalWriter, events, read_journal
from regimeflow.model.events import Fill
from tests.journal.journal_samples import FastDisk, chained, clocks, sample, text_of
from tests.soak.outcome import Outcome

FIRST = "journal-0001.jsonl"


class Flips(rf.Strategy):
    """Long and short in turns, so that a short run has many orders."""

    def on_bar(self, ctx: Any, bar: Any) -> None:
        ctx.target(bar.symbol, qty=10 if ctx.rng.random() < 0.5 else -10)


def _venue(seed: int, bars: int) -> Any:
    frame = rf.datasets.synthetic(n=bars, seed=seed)
    return rf.venues.Simulated(frame, speed=None, latency=rf.Latency(order_ms=20, data_ms=5))


def _run(folder: Path, seed: int, bars: int) -> None:
    rf.LiveSession(Flips(), _venue(seed, bars), run_dir=folder, seed=seed).run(progress=False)


def _story(folder: Path) -> list[tuple[Any, ...]]:
    found = [e for _, e, _ in events(folder) if isinstance(e, Fill)]
    return [(e.ts, e.side, e.qty, e.price, e.fee) for e in found]


def cut_anywhere(seed: int, bars: int = 30) -> Outcome:
    """Cut a run of at most 200 records at every byte; the unit is a journal.

    What is read is the records before the cut, and nothing else. At some cuts between two events
    the run is taken up again, and ends as if it had never been interrupted.
    """
    violations, counts = [], Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        whole, part = Path(name, "whole"), Path(name, "part")
        _run(whole, seed, bars)
        text = (whole / FIRST).read_bytes()
        records = [str(record) for record in read_journal(whole)]
        assert len(records) <= 200, len(records)
        part.mkdir()
        path, ends, last = part / FIRST, _ends(text), 0
        for size in range(len(text) + 1):
            path.write_bytes(text[:size])
            complete = text.count(b"\n", 0, size)
            journal = read_journal(part)
            rest = size - ends[complete]
            if len(journal) != complete or (journal.torn.size_bytes if journal.torn else 0) != rest:
                violations.append(f"a cut at byte {size} reads as {journal!r}")
            elif complete != last and [str(r) for r in journal] != records[:complete]:
                violations.append(f"a cut at byte {size} reads other records")
            last = complete
        counts["records"] = len(records)
        inputs = [at for at in ends[1:-1] if not _is_output(text, at)]
        for at in random.Random(seed).sample(inputs, 4):
            counts["taken up again"] += 1
            broken = Path(name, f"run{at}")
            shutil.copytree(whole, broken)
            (broken / FIRST).write_bytes(text[:at])
            _run(broken, seed, bars)
            if _story(broken) != _story(whole):
                violations.append(f"taken up from byte {at} it ends differently")
            elif not rf.certify(broken, progress=False).identical:
                violations.append(f"taken up from byte {at} it is not certified")
        counts["cuts"] = len(text) + 1
    return Outcome(1, violations, counts)


def _ends(text: bytes) -> list[int]:
    ends = [0]
    for line in text.splitlines(keepends=True):
        ends.append(ends[-1] + len(line))
    return ends


def _is_output(text: bytes, at: int) -> bool:
    line = text[at : text.index(b"\n", at)]
    return b'"kind":"submit"' in line or b'"kind":"cancel"' in line


@functools.cache
def _journal() -> tuple[dict[str, bytes], list[str]]:
    """Return the segments of a journal, all but the last compressed, and what they say."""
    with tempfile.TemporaryDirectory() as name:
        with JournalWriter(name, "demo", disk=FastDisk(), segment_bytes=6_000) as writer:
            for event, outputs in [*sample(), *clocks(30, len(sample()) + 1)]:
                writer.record(event, outputs)
                writer.flush()
        paths = sorted(Path(name).glob("journal-*"))
        return {p.name: p.read_bytes() for p in paths}, [str(r) for r in read_journal(name)]


def changed_anywhere(seed: int) -> Outcome:
    """Change single bytes and lines of a journal; the unit is a change.

    A change is refused, or it changes nothing that is read: a compressed file holds bytes that say
    nothing, and an end that was cut off is a shorter journal, which has another digest.
    """
    chance = random.Random(seed)
    violations, counts = [], Counter[str]()
    segments, records = _journal()
    last = max(segments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(100):
            which, way = chance.choice(list(segments)), chance.choice(WAYS)
            text = segments[which]
            if which == last:
                changed = _changed(text, way, chance)
            elif chance.random() < 0.5:  # in the compressed bytes
                changed = _changed(text, chance.choice(WAYS[:3]), chance)
            else:
                changed = gzip.compress(_changed(gzip.decompress(text), way, chance), 1, mtime=0)
            for file, content in segments.items():
                (folder / file).write_bytes(changed if file == which else content)
            why = _accepted(folder, records)
            counts[why or "refused"] += 1
            if why == "other records" or (why == "a prefix" and which != last):
                violations.append(f"a {way} in {which} reads as {why}")
    return Outcome(100, violations, counts)


WAYS = ("flip", "insert", "delete", "swap", "drop", "double")


def _changed(text: bytes, way: str, chance: random.Random) -> bytes:
    at = chance.randrange(len(text))
    if way == "flip":
        return text[:at] + bytes([text[at] ^ chance.randint(1, 255)]) + text[at + 1 :]
    if way == "insert":
        return text[:at] + bytes([chance.randrange(256)]) + text[at:]
    if way == "delete":
        return text[:at] + text[at + 1 :]
    lines = text.splitlines(keepends=True)
    first, second = chance.randrange(len(lines)), chance.randrange(len(lines))
    if way == "swap":
        lines[first], lines[second] = lines[second], lines[first]
    elif way == "drop":
        del lines[first]
    else:
        lines.insert(second, lines[first])
    return b"".join(lines)


def _accepted(folder: Path, records: list[str]) -> str:
    """Return what is read: "", if it is refused."""
    try:
        journal = read_journal(folder)
        found = [str(record) for record in journal]
    except JournalError:
        return ""
    if found == records:
        return "nothing changed" if journal.torn is None else "a torn tail, said"
    if found == records[: len(found)]:
        return "a prefix"
    return "other records"


# ---------------------------------------------------------------- made up


def made_up(seed: int) -> Outcome:
    """Read lines that somebody made up, with right sums; the unit is a line.

    Whatever they say, they are refused with our own error, or read as records; in no time.
    """
    chance = random.Random(seed)
    violations, counts = [], Counter[str]()
    lines = text_of(sample()).splitlines()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, FIRST)
        for _ in range(200):
            line = _fuzzed(chance.choice(lines), chance)
            body = line[: line.rfind(b',"sum"')] if chance.random() < 0.8 else line
            path.write_bytes(chained(body) if chance.random() < 0.8 else line + b"\n")
            try:
                counts["read" if len(read_journal(name)) else "nothing"] += 1
            except JournalError:
                counts["refused"] += 1
            except Exception as error:
                violations.append(f"{line[:80]!r} raised {error!r:.200}")
    return Outcome(200, violations, counts)


BITS = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"NaN", b"Infinity", b"1e999", b"-0", b"\\",
    b"\\u0000", b"\x00", b"\xff", b"\xc3", b"9" * 30, b"9" * 5000, b"true", b"[" * 2000,
    b'{"a":' * 2000, b"1.5e308", b"\n", b"\r", b'"kind":"start"', b'"v":9', "\u2028".encode(),
]  # fmt: skip


def _fuzzed(text: bytes, chance: random.Random) -> bytes:
    """Return a text with a few bytes or pieces changed."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        span = chance.choice([0, 0, 1, 1, 5, 40])
        piece = chance.choice([chance.choice(BITS), bytes([chance.randrange(256)]), b""])
        text = text[:at] + piece + text[at + span :]
    return text


fuzzed = _fuzzed
