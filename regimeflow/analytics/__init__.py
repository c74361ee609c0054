"""Floor 3: what a run amounts to. Reports and statistics, folded from events."""
