"""An exchange to practise on, and what can go wrong with one: for tests of sessions and adapters.

Nothing here shares code with the engine's own books or the simulated venue: what the sandbox says
an account holds is counted by the sandbox alone, so that it can contradict the rest.
"""
