"""The program as an operator runs it: a real process, its exit codes, signals, sockets and output."""
