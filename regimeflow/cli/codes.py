"""Exit codes of every command."""

#: A result; something wrong with the command, the data or a file; a strategy that failed or does
#: not decide what was recorded, or something that doctor or validate found. A second signal ends a
#: session with 128 and its number, as shells say it.
OK, WRONG, DIFFERENT = 0, 1, 2
