"""What regimeflow costs, held against two floors measured in the same run.

``python -m benchmarks`` prints the table; each row runs in a process of its own.
"""
