"""The widget itself: a script and messages, and no state that a saved notebook could carry."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import anywidget

_STATIC = pathlib.Path(__file__).parent / "static"


class Panel(anywidget.AnyWidget):
    """One panel in a notebook.

    Args:
        heard: is given what the page says, on whatever thread that arrives.
    """

    _esm = _STATIC / "panel.js"
    _css = _STATIC / "panel.css"

    def __init__(self, heard: Callable[[Any], None]) -> None:
        super().__init__()
        self._heard = heard
        self.on_msg(self._on_page)

    def _on_page(self, _: Any, content: Any, buffers: Any) -> None:
        self._heard(content)

    def tell(self, kind: str, seq: int, body: bytes) -> None:
        """Send a message whose body, JSON, travels beside it: nobody encodes it twice."""
        self.send({"kind": kind, "seq": seq}, buffers=[body])
