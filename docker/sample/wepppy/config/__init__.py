"""Where every service finds its secrets, its databases and its run directories."""
