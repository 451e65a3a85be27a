"""From an encoded table to fitted models and the choice among them. Imports bundle, data and spec; never inference."""
