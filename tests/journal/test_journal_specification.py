"""The specification holds what is so: kinds, fields, the example line, the reader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

from journal_samples import FastDisk, clocks, sample

from regimeflow.journal import JournalWriter, read_journal
from regimeflow.journal.format import LineReader
from regimeflow.model.events import Input, Output
from regimeflow.model.market import Trade

PAGE = (Path(__file__).parents[2] / "docs" / "journal.md").read_text(encoding="utf-8")


def test_every_kind_and_every_field_is_specified() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", PAGE, re.MULTILINE))
    for cls in (*get_args(Input), *get_args(Output)):
        row = rows[cls.__struct_config__.tag]
        named = set(re.findall(r"`([a-z0-9_]+)`", row))
        missing = set(cls.__struct_fields__[2:]) - named
        assert not missing, f"docs/journal.md: {cls.__name__} has the fields {missing} too"


def test_the_example_line_is_one() -> None:
    (line,) = re.findall(r"^\{\"schema\".*\}$", PAGE, re.MULTILINE)
    record = LineReader().read(line.encode(), 1)
    assert record is not None
    assert record.body == Trade(1, 2, "SPY", 470.25, 100.0)


def test_the_reader_on_the_page_reads_what_ours_reads(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(import gzip.*?)```", PAGE, re.DOTALL)
    page: dict[str, Any] = {}
    exec(source, page)
    for name, run, size in (("a", sample(), 1 << 20), ("b", clocks(30), 1000)):
        with JournalWriter(tmp_path / name, "demo", segment_bytes=size, disk=FastDisk()) as writer:
            for event, outputs in run:
                writer.record(event, outputs)
        told = list(page["records"](tmp_path / name))
        journal = read_journal(tmp_path / name)
        assert [record["kind"] for record in told] == [record.kind for record in journal]
        assert [record["body"] for record in told] == [
            json.loads(text) for text in journal.frame()["body"]
        ]
        assert told[-1]["sum"] == journal.digest
