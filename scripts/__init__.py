"""Everything that runs on the host: one noun a module. `tasks.py` is the menu in front of it."""
