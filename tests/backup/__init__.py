"""The database program's modules, beside a real server. What a user sees of them is tested in tests/database."""
