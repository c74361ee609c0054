"""Makes ``detached_strategies`` importable: test modules are imported one by one here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
