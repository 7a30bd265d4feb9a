"""The steps of a run's computation: each reads what earlier steps found and writes its files into the run directory."""
