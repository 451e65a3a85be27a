"""From an encoded table to fitted models and the choice among them. Imports spec, data and bundle's preprocessor."""
