"""Offline use of a bundle: scoring, batch prediction, Shapley values. Imports bundle, data and spec."""
