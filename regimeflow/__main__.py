"""``python -m regimeflow``, where the console script is not on the path."""

import sys

from regimeflow.cli import main

sys.exit(main())
