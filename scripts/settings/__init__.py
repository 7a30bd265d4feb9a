"""Settings and secrets of a stack: `.env` and one file for each secret."""
