"""Served models after deployment: drift, outcomes, live performance, and the retraining that these ask for.

Imports operations, serving, registry, evidence, reports and what these import; never deployment.
"""
