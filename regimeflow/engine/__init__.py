"""Floor 1: one deterministic machine. Time comes from events, randomness from a seed."""
