"""What those who run the platform need: alerts that reach somebody, and backups. Imports the root alone."""
