"""The part of the second site's code that the first one uses."""
