"""Workers on other hosts: invite one, join, look at all, leave."""
