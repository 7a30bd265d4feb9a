"""What runs on the host: packages that import downward only. `tasks.py` is the menu in front of them."""
