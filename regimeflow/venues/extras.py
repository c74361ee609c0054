"""Client libraries are optional: what to say where one is not installed."""

from __future__ import annotations

import importlib.util

from regimeflow.errors import MissingExtra


def require(module: str, *, extra: str, venue: str) -> None:
    """Check that a client library is installed, without importing it.

    Args:
        module: its top-level package.
        extra: the extra of this distribution that brings it.
        venue: what needs it.

    Raises:
        MissingExtra: it is not; the message holds the command that installs it.

    Example:
        >>> require("numpy", extra="numbers", venue="Arithmetic")
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(
            f"{venue} needs the package {module}, which is not installed: "
            f'pip install "regimeflow-jupyter[{extra}]"'
        )
