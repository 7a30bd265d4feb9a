"""Tasks of the database: backups, restores, the way back, passwords, the move from another server."""
