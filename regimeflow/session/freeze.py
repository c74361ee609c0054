"""Strategies by value: every engine gets a class object and globals of its own.

A notebook goes on changing while its strategy runs. What runs is therefore a frozen copy, made with
cloudpickle, of the strategy, its class, the globals its code reads and the user's own modules.
"""

from __future__ import annotations

import contextlib
import dis
import hashlib
import inspect
import os
import pickle
import platform
import re
import stat
import sys
import sysconfig
import threading
import types
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import cloudpickle
import msgspec

from regimeflow.engine.strategy import Strategy
from regimeflow.errors import SessionError
from regimeflow.redaction import HIDDEN, is_secret
from regimeflow.session.source import (
    code_of,
    name_of,
    own_classes,
    source_hash,
    source_of,
)

#: Where the frozen strategy stands in a run directory.
FROZEN_NAME = "strategy.pkl"
MANIFEST_NAME = "manifest.json"

_LIBRARIES = (
    "regimeflow-jupyter",
    "numpy",
    "pandas",
    "polars",
    "narwhals",
    "msgspec",
    "cloudpickle",
)
_loading = threading.Lock()


class Manifest(msgspec.Struct, kw_only=True):
    """What a run was made of, for those who want to know why another one differs.

    Attributes:
        strategy, params, source, source_sha256: the strategy, its parameters and source text.
        globals: notebook variables that its code reads, as text.
        frozen_sha256: of the frozen strategy beside this file.
        python, libraries: versions.
        venue: what it ran on, in words.
        suspects: names in its code that read a clock or unseeded random numbers.
        armed_for: last characters of the account whose real money it may trade, "" for paper.
    """

    schema: str = "regimeflow.manifest.v1"
    run: str = ""
    strategy: str = ""
    params: dict[str, str] = {}
    source: str = ""
    source_sha256: str = ""
    globals: dict[str, str] = {}
    frozen_sha256: str = ""
    python: str = ""
    libraries: dict[str, str] = {}
    venue: str = ""
    suspects: list[str] = []
    armed_for: str = ""


def freeze(strategy: Strategy) -> bytes:
    """Return a strategy by value.

    Raises:
        SessionError: it holds something that cannot be copied, such as an open file.
    """
    try:
        with by_value():
            return bytes(cloudpickle.dumps(strategy))
    except Exception as error:
        raise SessionError(
            f"{name_of(strategy)} cannot be frozen, because it holds something that cannot be "
            f"copied ({error}): open files and connections in a callback, not in the notebook"
        ) from error


@contextlib.contextmanager
def by_value() -> Iterator[None]:
    """Let cloudpickle copy the user's own modules whole, so that they may change afterwards."""
    modules = _user_modules()
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def thaw(frozen: bytes) -> Strategy:
    """Return a new strategy, with a class and globals that nothing else shares."""
    with untracked():
        strategy = pickle.loads(frozen)
    if not isinstance(strategy, Strategy):
        raise SessionError("the frozen strategy is not a strategy")
    return strategy


def load_frozen(run_dir: Path, sha256: str) -> Strategy:
    """Return the strategy frozen in a run directory; see `read_frozen`."""
    return thaw(read_frozen(run_dir, sha256))


def load_upgrade(run_dir: Path, sha256: str) -> Strategy:
    """Return a strategy that a run was upgraded to; see `read_upgrade`."""
    return thaw(read_upgrade(run_dir, sha256))


def read_frozen(run_dir: Path, sha256: str) -> bytes:
    """Return the frozen strategy that a run began with.

    That is code, so it is loaded only from the user's own files, and only if it is the very one
    that the verified journal names.

    Raises:
        SessionError: it is missing, somebody else could have written it, or it was changed.
    """
    try:
        return _named(run_dir / FROZEN_NAME, sha256)
    except SessionError as error:
        raise SessionError(f"{error}; pass strategy=") from error


def read_upgrade(run_dir: Path, sha256: str) -> bytes:
    """Return a frozen strategy that a run was upgraded to, on the same conditions.

    Raises:
        SessionError: it is missing, somebody else could have written it, or it was changed.
    """
    return _named(run_dir / upgrade_name(sha256), sha256)


def upgrade_name(sha256: str, suffix: str = ".pkl") -> str:
    """Return the name of the file that holds a strategy a run was upgraded to.

    Raises:
        SessionError: ``sha256`` is none.
    """
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise SessionError(f"{sha256[:80]!r} is not the sha256 of a frozen strategy")
    return f"strategy-{sha256[:16]}{suffix}"


def read_manifest(path: Path) -> Manifest:
    """Return a manifest that the user wrote.

    Raises:
        SessionError: it is missing, somebody else could have written it, or it is none.
    """
    try:
        return msgspec.json.decode(read_private(path), type=Manifest)
    except msgspec.MsgspecError as error:
        raise SessionError(f"{path} is not a manifest: {error}") from error


def _named(path: Path, sha256: str) -> bytes:
    content = read_private(path)
    if not sha256 or hashlib.sha256(content).hexdigest() != sha256:
        raise SessionError(f"{path} is not the strategy that the journal names: it is not loaded")
    return content


def read_private(path: Path) -> bytes:
    """Return the content of a file that nobody but the user can have written."""
    try:
        with open(path, "rb", opener=_no_follow) as file:
            info = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise SessionError(
            f"there is no {path.name} in {path.parent} ({error.strerror})"
        ) from error
    if hasattr(os, "getuid") and info.st_uid != os.getuid():
        raise SessionError(f"{path} belongs to another user: it is not loaded")
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SessionError(f"{path} can be written by others: it is not loaded")
    return content


def describe(strategy: Strategy, *, run: str, frozen: bytes, venue: str) -> Manifest:
    """Return the manifest of a run."""
    return Manifest(
        run=run,
        strategy=name_of(strategy),
        params={n: HIDDEN if is_secret(n) else repr(v) for n, v in strategy.params.items()},
        source=source_of(strategy),
        source_sha256=source_hash(strategy),
        globals=globals_read(strategy),
        frozen_sha256=hashlib.sha256(frozen).hexdigest(),
        python=platform.python_version(),
        libraries={name: _version(name) for name in _LIBRARIES},
        venue=venue,
        suspects=suspects(strategy),
    )


def globals_read(strategy: Strategy) -> dict[str, str]:
    """Return the plain variables outside the strategy that its code reads, as text."""
    found: dict[str, str] = {}
    for function in _functions(strategy):
        for name in _globals_named(function.__code__):
            value = function.__globals__.get(name, _MISSING)
            if isinstance(
                value, bool | int | float | str | bytes | type(None) | tuple | list | dict
            ):
                found[name] = HIDDEN if is_secret(name) else _short(value)
    return dict(sorted(found.items()))


def suspects(strategy: Strategy) -> list[str]:
    """Return what in the code reads a clock or random numbers that no seed rules."""
    found: dict[str, None] = {}
    for function in _functions(strategy):
        names = _names(function.__code__)
        reads = {n: function.__globals__.get(n) for n in _globals_named(function.__code__)}
        for name, value in reads.items():
            module = getattr(value, "__name__", "") if isinstance(value, types.ModuleType) else ""
            home = module or str(getattr(value, "__module__", ""))
            if home in _CLOCKS or (home == "datetime" and names & {"now", "today", "utcnow"}):
                found[f"wall clock ({name})"] = None
            elif home in _RANDOM or (home == "numpy" and "random" in names):
                found[f"unseeded randomness ({name})"] = None
    return list(found)


_CLOCKS = frozenset({"time"})
_RANDOM = frozenset({"random", "secrets", "uuid", "numpy.random"})
_MISSING = object()


def _functions(strategy: Strategy) -> Iterator[types.FunctionType]:
    code = code_of(strategy)
    owners = [code] if not isinstance(code, type) else own_classes(code)
    for owner in owners:
        things = [owner] if not isinstance(owner, type) else vars(owner).values()
        for thing in things:
            inner = inspect.unwrap(getattr(thing, "__func__", thing))
            if isinstance(inner, types.FunctionType):
                yield inner


def _globals_named(code: types.CodeType) -> set[str]:
    """Return the names that a function's code looks up outside itself."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in _LOOKUPS}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _globals_named(constant)
    return names


_LOOKUPS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


def _names(code: types.CodeType) -> set[str]:
    """Return the names that a function's code mentions, those of its inner functions included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _short(value: object) -> str:
    text = repr(value)
    if len(text) <= 200:
        return text
    return f"{text[:160]}… sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _user_modules() -> list[types.ModuleType]:
    """Return loaded modules that lie beside the user's work, not in an installation."""
    installed = tuple(
        os.path.realpath(path)
        for path in {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}
        if path
    )
    own = os.path.realpath(Path(__file__).parents[1])
    modules = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if (
            not isinstance(file, str)
            or name == "__main__"
            or not isinstance(module, types.ModuleType)
        ):
            continue
        real = os.path.realpath(file)
        if not real.startswith((*installed, own)) and getattr(module, "__spec__", None) is not None:
            modules.append(module)
    return modules


@contextlib.contextmanager
def untracked() -> Iterator[None]:
    """Let cloudpickle build a new class although this process knows the one it was made from.

    Its class tracker would hand out the notebook's own class and overwrite its attributes.
    """
    from cloudpickle import cloudpickle as inner

    name = "_lookup_class_or_track"
    if not callable(getattr(inner, name, None)):
        raise SessionError(
            f"this cloudpickle ({cloudpickle.__version__}) tracks classes in a way that regimeflow "
            "does not know: install a version that the project's lock names"
        )
    with _loading:
        tracked = getattr(inner, name)
        setattr(inner, name, lambda _, cls: cls)
        try:
            yield
        finally:
            setattr(inner, name, tracked)


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
