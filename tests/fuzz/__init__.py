"""Hostile requests by the thousand against servers in a container's memory: `make fuzz`."""
