"""What a clinician, an auditor and an attacker would ask of a model: one question a module."""
