"""The container engine and what it runs: commands, containers, the rendered model, probes of the services."""
