"""A registered version put to work, on a cluster or on this machine: rolled out, replayed, rolled back.

Imports monitoring, by which a rollout is watched, registry, serving and what these import.
"""
