"""Served models after deployment: drift, and the retraining it asks for. Imports registry, inference and data."""
