"""The ground that the rest stands on: files, fingerprints, the Hub, commands and their errors. Knows no model code."""
