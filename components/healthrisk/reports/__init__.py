"""Self-contained pages and pictures of what the other rooms found. Imports spec."""
