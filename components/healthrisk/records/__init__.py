"""The record of use and of who did what: lines in chains that show what was altered, and never a value of a patient.

Imports the root alone. Servers write it, and whoever acts; operations carries it to the object store, verifies and
searches it.
"""
