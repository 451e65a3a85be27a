"""What those who run the platform need: alerts that reach somebody, backups, the record of use.

Imports records, receipts, serving, data and spec.
"""
