"""KServe's classes around serving: the one room that imports kserve. Imports serving, inference and bundle."""
