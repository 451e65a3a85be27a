"""What those who run the platform need: alerts that reach somebody. Imports the root alone."""
