"""What a strategy is made of: its source, by which two runs know whether they ran the same code."""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import tokenize
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
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        # From Python 3.13 on a class knows its line, and a thawed one may name the wrong file.
        return _source_in_cell(thing) if isinstance(thing, type) else ""


def _source_in_cell(cls: type) -> str:
    """Return a class's source from the notebook cell it was written in.

    `inspect` looks for the file of a class's module, and a notebook has none; but its methods know
    their cell, and `linecache` has that.
    """
    for thing in vars(cls).values():
        function = inspect.unwrap(getattr(thing, "__func__", thing))
        if not isinstance(function, types.FunctionType):
            continue
        lines = linecache.getlines(function.__code__.co_filename)
        try:
            tree = ast.parse("".join(lines))
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                last = node.end_lineno or node.lineno
                if node.lineno <= function.__code__.co_firstlineno <= last:
                    return "".join(lines[node.lineno - 1 : last])
    return ""


def _is_ours(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "regimeflow"
