"""The command line: the only code that touches signals, exit codes, the terminal, or starts a loop."""
