"""The stack on a Docker Swarm: deploy, look, scale, remove."""
