"""The checks of `doctor`, each with a fix for what it finds."""
