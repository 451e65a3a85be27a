"""From a source to a checked, encoded table: sources, ingest, encoding, rules, validation, profile. Imports spec."""
