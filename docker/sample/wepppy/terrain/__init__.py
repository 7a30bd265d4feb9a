"""Terrain analysis, runoff and soil loss on plain numpy arrays: no files, no Redis, no clock."""
