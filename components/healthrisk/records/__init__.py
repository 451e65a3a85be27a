"""The record of use: a line for each request in a chain that shows what was altered, and never a value of a patient.

Imports the root alone. The servers write it; operations carries it to the object store, verifies and searches it.
"""
