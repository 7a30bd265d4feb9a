"""What a wepppy checkout lacks to run here: read from its files, none of its code executed."""
