"""How functions become tasks, and the tasks of the database."""
