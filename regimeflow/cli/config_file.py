"""The configuration file that a command is about."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regimeflow.session.settings import Settings


def add(parser: argparse.ArgumentParser) -> None:
    """Let a command take its file by place or as ``--config FILE``."""
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("file", nargs="?", metavar="FILE", help="YAML")
    either.add_argument("--config", metavar="FILE", help="the same")


def load(arguments: argparse.Namespace) -> Settings:
    """Return what the file says; what is printed hides its secrets from then on."""
    from regimeflow.session.settings import load_settings

    settings = load_settings(arguments.config or arguments.file)
    arguments.redactor = settings.redactor
    return settings
