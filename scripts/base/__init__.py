"""What every other package may use: errors, clock, console, prompts, files, facts about this machine."""
