"""What a strategy is made of: its source, by which two runs know whether they ran the same code."""

from __future__ import annotations

import hashlib
import inspect
import types
from typing import Any

from regimeflow.engine.strategy import FunctionStrategy, Strategy


def code_of(strategy: Strategy) -> Any:
    """Return the class or function that the user wrote."""
    return strategy.function if isinstance(strategy, FunctionStrategy) else type(strategy)


def name_of(strategy: Strategy) -> str:
    """Return the name the user gave it."""
    return str(getattr(code_of(strategy), "__name__", "strategy"))


def source_of(strategy: Strategy) -> str:
    """Return the strategy's source, base classes of the user's included; "" where it is lost."""
    code = code_of(strategy)
    if not isinstance(code, type):
        return _source(code)
    return "\n\n".join(_source(c) for c in own_classes(code))


def own_classes(cls: type) -> list[type]:
    """Return the user's own classes among a strategy and its bases."""
    return [c for c in cls.__mro__ if issubclass(c, Strategy) and not _is_ours(c)]


def source_hash(strategy: Strategy) -> str:
    """Return sha256 of the source, or of the byte code where the source is lost."""
    text = source_of(strategy).strip()
    if text:
        return hashlib.sha256(text.encode()).hexdigest()
    digest = hashlib.sha256()
    code = code_of(strategy)
    functions = [code] if not isinstance(code, type) else vars(code).values()
    for function in functions:
        if isinstance(function, types.FunctionType):
            digest.update(function.__code__.co_code)
            digest.update(repr(function.__code__.co_consts).encode())
    return digest.hexdigest()


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""


def _is_ours(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "regimeflow"
