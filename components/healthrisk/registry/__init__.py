"""Building a bundle, and MLflow's runs, versions and aliases that point at it.

Imports training, inference and what these import; neither evidence nor reports.
"""
