"""The sample WEPPcloud: a small, complete source tree that runs when no other tree is mounted."""
