"""Long runs of what the tests try a little of; ``python -m tests.soak`` adds up what they find."""
