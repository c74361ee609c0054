"""``python -m regimeflow.sandbox.alpaca``."""

from __future__ import annotations

import sys

from regimeflow.sandbox.alpaca import main

if __name__ == "__main__":
    sys.exit(main())
