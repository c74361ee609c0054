"""The rows of the table in ``docs/reliability.md``: what is tried, and how often it should be."""

from __future__ import annotations

from tests.soak.canaries import canaries
from tests.soak.crashes import crash, disk_fault
from tests.soak.days import flat, same_twice
from tests.soak.fuzz import configs, frames
from tests.soak.journals import changed_anywhere, cut_anywhere, made_up
from tests.soak.kernels import kernels
from tests.soak.limits import hostile_limits, judged_orders
from tests.soak.outcome import Row
from tests.soak.rig import ambiguous, halts, kills, lost_fills
from tests.soak.sessions import whole_sessions
from tests.soak.simulated import simulated

ROWS = {
    "simulation": Row(
        "sessions on an exchange that loses, delays, doubles, garbles and refuses, killed and "
        "taken up in between, judged by its own books: any rule broken",
        simulated, 5_000, "seeds",
    ),
    "crashes": Row(
        "a process that ends at each of 56 labelled points, with its power or without, and its "
        "successor while taking up: lost, doubled, phantom orders",
        crash, 500, "runs",
    ),
    "disk-faults": Row(
        "a full, broken or short disk at each call of a session: orders without a durable intent, "
        "orders after the fault, orders left working",
        disk_fault, 540, "sessions",
    ),
    "cuts": Row(
        "a journal cut at every byte: anything but a valid prefix; taken up, another end",
        cut_anywhere, 10, "journals",
    ),
    "changes": Row(
        "single bytes and lines of a journal changed, plain and compressed: silently accepted",
        changed_anywhere, 200_000, "changes",
    ),
    "orders": Row(
        "orders and changes against a brute-force judge, hostile numbers included: over a limit "
        "on the wire, wrongly denied",
        judged_orders, 1_000_000, "intents",
    ),
    "limits": Row(
        "hostile values as limits: taken for a limit", hostile_limits, 100_000, "values"
    ),
    "lines": Row("made-up journal lines with right sums: crash, hang", made_up, 200_000, "lines"),
    "configs": Row(
        "configurations and `.env` files tampered with: crash, hang", configs, 100_000, "files"
    ),
    "messages": Row(
        "a venue that says anything: crash, hang, order caused", frames, 200_000, "messages"
    ),
    "same-twice": Row("one seed twice: another journal", same_twice, 500, "seeds"),
    "days": Row(
        "simulated trading days: growth of memory, threads, descriptors", flat, 5_000_000, "events"
    ),
    "sessions": Row(
        "whole sessions: live, shadow, twin, backtest, certificate or Decimal ledger differ",
        whole_sessions, 1_000, "sessions",
    ),
    "canaries": Row(
        "secrets in anything that is written or shown, text that is alive in HTML or CSV",
        canaries, 2_000, "runs",
    ),
    "kills": Row(
        "a session over sockets killed at any instant and taken up again: lost, doubled, phantom "
        "orders",
        kills, 300, "kills",
    ),
    "ambiguous": Row(
        "submits over sockets whose answer is lost: duplicates, false rejections, wrong final "
        "state",
        ambiguous, 5_000, "submits",
    ),
    "lost-fills": Row(
        "fills that a healthy stream loses: not found by the second comparison",
        lost_fills, 500, "fills",
    ),
    "halts": Row(
        "halts by command and kill file over sockets: submits after the trigger",
        halts, 1_000, "halts",
    ),
    "kernels": Row(
        "a notebook's kernel killed, restarted, interrupted with an open order: policy not "
        "obeyed, detached session harmed",
        kernels, 60, "kernels",
    ),
}  # fmt: skip
