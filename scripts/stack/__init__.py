"""Tasks of the stack as a whole and of single services: up, down, status, restart, logs, seed."""
