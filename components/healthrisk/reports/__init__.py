"""Self-contained pages, pictures and texts of what other rooms found.

Imports training and spec; neither evidence nor registry.
"""
