"""Self-contained pages, pictures and texts of what other rooms found.

Imports evidence, training and spec; not registry.
"""
