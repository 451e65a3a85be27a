"""healthrisk turns a clinical table into a served, watched and explainable risk model."""

__version__ = "0.1.0"
