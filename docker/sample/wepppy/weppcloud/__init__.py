"""The web application: accounts, the list of runs, the page of a run and the JSON interface to both."""
