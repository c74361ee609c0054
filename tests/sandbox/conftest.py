"""Makes ``sockets`` importable: test modules are imported one by one here."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("broker_sessions")
