"""Small asynchronous services around the files of a run."""
