"""What a session is made of, in a form that can be handed to a process of its own."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cloudpickle

from regimeflow.errors import SessionError
from regimeflow.journal import Disk
from regimeflow.redaction import Redactor, Secret
from regimeflow.session import freeze
from regimeflow.session.alerts import Alert
from regimeflow.session.freeze import Manifest
from regimeflow.session.plan import Wish

#: What a detached session does when the process that controls it is gone without a goodbye.
OnKernelLoss = Literal["continue", "pause", "cancel", "flatten"]


class Spec(NamedTuple):
    """What a session is made of.

    Attributes:
        frozen, manifest: the strategy by value, and what it was made of.
        venue: where it trades.
        wish: what was asked for besides.
        run_dir: where the journal goes.
        dry_run: whether orders are only written down.
        on_kernel_loss: what a detached session does without its controller.
        disk: where the journal is written; the real one without it.
        audit_format: "csv" or "jsonl".
        alert: who is told of degraded states, or None.
        redact: takes secrets out of what is written and told.
        output_dir: where the drift files go; the run directory without it.
    """

    frozen: bytes
    manifest: Manifest
    venue: Any
    wish: Wish
    run_dir: Path
    dry_run: bool
    on_kernel_loss: OnKernelLoss
    disk: Disk | None = None
    audit_format: str = "csv"
    alert: Alert | str | None = None
    redact: Callable[[str], str] | None = None
    output_dir: Path | None = None


def pack(spec: Spec) -> bytes:
    """Return a specification as bytes for the pipe to a process of our own, secrets included.

    Raises:
        SessionError: the venue holds something that cannot be handed over, such as a connection.
    """
    sink = io.BytesIO()
    try:
        with freeze.by_value():
            _Pickler(sink).dump(tuple(spec))
    except Exception as error:
        raise SessionError(
            f"{spec.venue!r} cannot be handed to a process of its own, because it holds something "
            f"that cannot be copied ({error}): start the session without detached=True"
        ) from error
    return sink.getvalue()


def unpack(packed: bytes, redactor: Redactor) -> Spec:
    """Return what was packed; its secrets are made known to ``redactor``."""
    source = _Unpickler(io.BytesIO(packed))
    spec = Spec(*source.load())
    redactor.add(*source.secrets)
    return spec


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes secrets, which refuse any other."""

    def persistent_id(self, thing: Any) -> str | None:
        return thing.reveal() if isinstance(thing, Secret) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, source: io.BytesIO) -> None:
        super().__init__(source)
        self.secrets: list[Secret] = []

    def persistent_load(self, pid: Any) -> Secret:
        secret = Secret(pid)
        self.secrets.append(secret)
        return secret
