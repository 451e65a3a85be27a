"""Self-contained pages, pictures and texts of what other rooms found.

Imports evidence and what it imports, and of registry how a version came about.
"""
