"""Another strategy for a running session: what is asked, what is shown, what is written down."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Literal, get_args

import msgspec

from regimeflow.engine.strategy import Strategy
from regimeflow.errors import ConfigError, SessionError, did_you_mean
from regimeflow.journal import events
from regimeflow.model.events import Start, Upgraded
from regimeflow.model.text import escape
from regimeflow.session import freeze
from regimeflow.session.backtest import plain_params
from regimeflow.session.features import compute_of
from regimeflow.session.freeze import MANIFEST_NAME, Manifest, upgrade_name
from regimeflow.session.run_dir import write_private

When = Literal["flat", "next_bar"]


class Upgrade(msgspec.Struct, frozen=True):
    """What an upgrade changes.

    Attributes:
        strategy: name of what takes over.
        when: as in `LiveSession.upgrade`.
        difference: of source, parameters and the notebook variables read, as a unified diff.
        why: as it was given.
    """

    strategy: str
    when: str
    difference: str
    why: str = ""

    def __repr__(self) -> str:
        return f"{self._head()}\n{self.difference}"

    def _head(self) -> str:
        moment = "once flat" if self.when == "flat" else "with the next bar or tick"
        return f"{self.strategy} takes over {moment}" + (f": {self.why}" if self.why else "")

    def _repr_html_(self) -> str:
        lines = []
        for line in self.difference.splitlines():
            colour = _COLOURS.get(line[:1], "inherit")
            lines.append(f"<span style='color:{colour}'>{escape(line)}</span>")
        return (
            f"<div><b>{escape(self._head())}</b>"
            f"<pre style='margin:.4em 0;line-height:1.3'>{chr(10).join(lines)}</pre></div>"
        )


_COLOURS = {"+": "rgb(0,130,200)", "-": "rgb(225,105,15)", "@": "gray"}


class UpgradeWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of a session; the strategy itself lies in the run directory by then.

    Attributes:
        frozen_sha256: which one.
        when, why, who: as in `Upgraded`.
        warmup: as in `Upgraded`.
    """

    frozen_sha256: str
    when: When = "flat"
    warmup: int = 0
    why: str = ""
    who: str = "user"


def check_when(when: str) -> None:
    """Refuse what is not a moment for an upgrade."""
    moments = get_args(When)
    if when not in moments:
        hint = did_you_mean(str(when), moments)
        raise ConfigError(f"when must be 'flat' or 'next_bar', not {when!r}.{hint}")


def check_features(strategy: Strategy, warmup: int | None, known: int) -> None:
    """Refuse features of which nobody knows how many bars they need.

    Args:
        strategy: what is to take over.
        warmup: the number given, if any.
        known: the number in force, 1 at most where no features were computed so far.
    """
    if warmup is not None and warmup < 1:
        raise ConfigError(f"warmup must be at least 1 bar, not {warmup}")
    if warmup is None and known <= 1 and compute_of(strategy) is not None:
        raise ConfigError(
            "the strategy has features and the one that runs has none: give warmup=, the number of "
            "bars they are computed on (a backtest's report says how many suffice)"
        )


def difference(before: Manifest, after: Manifest) -> str:
    """Return how two strategies differ, as a unified diff; "" where they do not.

    Source text is compared line by line; below it stand parameters and notebook variables, secrets
    hidden. Where the source of one is lost, its sha256 stands for it.
    """
    lines = difflib.unified_diff(
        _told(before), _told(after), f"{before.strategy} (now)", f"{after.strategy} (new)", n=3,
        lineterm="",
    )  # fmt: skip
    return "\n".join(lines)


def _told(manifest: Manifest) -> list[str]:
    source = manifest.source.strip().splitlines() or [f"source sha256 {manifest.source_sha256}"]
    params = [f"# parameter {name} = {text}" for name, text in sorted(manifest.params.items())]
    read = [f"# variable {name} = {text}" for name, text in sorted(manifest.globals.items())]
    return [f"# {manifest.strategy}", *source, *params, *read]


def keep(run_dir: Path, frozen: bytes, manifest: Manifest) -> str:
    """Write a frozen strategy and its manifest beside the run's; return its sha256.

    Raises:
        SessionError: the run directory cannot be written.
    """
    sha256 = hashlib.sha256(frozen).hexdigest()
    try:
        write_private(run_dir / upgrade_name(sha256), frozen)
        write_private(
            run_dir / upgrade_name(sha256, ".json"),
            msgspec.json.format(msgspec.json.encode(manifest), indent=1),
        )
    except OSError as error:
        raise SessionError(f"cannot write into {run_dir}: {error}") from error
    return sha256


def changes_of(run_dir: Path, deciding_sha256: str, before: Manifest, after: Manifest) -> str:
    """Return how a strategy differs from the one last asked for, or from the one that decides.

    Asked for again while it still waits, it differs from the latter only; "" where from neither.

    Args:
        run_dir: where the manifests lie.
        deciding_sha256: of the frozen strategy that decides, "" for the run's first.
        before: of the strategy last asked for.
        after: of the new one.
    """
    name = upgrade_name(deciding_sha256, ".json") if deciding_sha256 else MANIFEST_NAME
    return difference(before, after) or difference(freeze.read_manifest(run_dir / name), after)


def taken(
    run_dir: Path, wish: UpgradeWish, before: Manifest, deciding_sha256: str
) -> tuple[Upgraded, Manifest]:
    """Return the event of an upgrade that was asked for, once its strategy is known to load.

    Arguments are those of `changes_of`.

    Raises:
        SessionError: the strategy is missing, not to be trusted, or cannot be loaded.
    """
    sha256 = wish.frozen_sha256
    if wish.warmup < 0:
        raise SessionError(f"warmup must not be negative, got {wish.warmup}")
    try:
        strategy = freeze.load_upgrade(run_dir, sha256)
    except SessionError:
        raise
    except Exception as error:
        raise SessionError(
            f"the new strategy cannot be loaded in the session's process: {error}"
        ) from error
    manifest = freeze.read_manifest(run_dir / upgrade_name(sha256, ".json"))
    changes = changes_of(run_dir, deciding_sha256, before, manifest)
    event = Upgraded(
        0, 0, sha256, manifest.source_sha256, manifest.strategy, plain_params(strategy), wish.when,
        wish.warmup, manifest.source, changes, wish.why, wish.who,
    )  # fmt: skip
    return event, manifest


def as_begun(begin: Start, upgraded: Upgraded) -> Start:
    """Return what a run would have begun with, had its present strategy run from the beginning."""
    return msgspec.structs.replace(
        begin,
        strategy=upgraded.strategy,
        params=upgraded.params,
        source_sha256=upgraded.source_sha256,
        frozen_sha256=upgraded.frozen_sha256,
        warmup=upgraded.warmup or begin.warmup,
    )


def last_upgrade(run_dir: Path) -> Upgraded | None:
    """Return the last upgrade of a recorded run, or None."""
    if not any(run_dir.glob("strategy-*.pkl")):
        return None  # written before its event is: nothing need be read
    found = None
    for _, event, _ in events(run_dir):
        if isinstance(event, Upgraded):
            found = event
    return found
