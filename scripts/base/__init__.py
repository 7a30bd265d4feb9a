"""What every other package may use: errors, clock, console, files, facts about this machine."""
