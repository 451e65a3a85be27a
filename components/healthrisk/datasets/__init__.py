"""The specs and the tables that ship. Imports nothing."""
