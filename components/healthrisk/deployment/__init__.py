"""A registered version put to work, on a cluster or on this machine: rolled out, replayed, rolled back.

Imports registry, serving and what these import.
"""
