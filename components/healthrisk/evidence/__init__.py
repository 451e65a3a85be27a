"""What a clinician or an auditor asks of a model, one question a module.

Imports training, inference and what these import; neither registry nor reports.
"""
