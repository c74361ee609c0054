"""Exit codes of every command."""

#: A result; something wrong with the command, the data or a file; a strategy that failed or does
#: not decide what was recorded, or something that doctor or validate found; a second interrupt.
OK, WRONG, DIFFERENT, INTERRUPTED = 0, 1, 2, 130
