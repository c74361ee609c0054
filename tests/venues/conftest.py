"""Makes ``scripts`` importable: test modules are imported one by one here."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "sandbox")]
