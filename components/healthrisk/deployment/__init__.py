"""A registered version on a cluster: deployed, replayed, taken back. Imports registry, inference and serving."""
