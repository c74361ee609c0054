"""Exit codes of every command."""

#: A result; something wrong with the command, the data or a file; a strategy that failed or does
#: not decide what was recorded; a second interrupt.
OK, WRONG, DIFFERENT, INTERRUPTED = 0, 1, 2, 130
