"""Floor 4: puts the parts together into a backtest, a live session and a replay."""
