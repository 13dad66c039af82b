"""Files, fingerprints and cards: what is stored and shared. Knows no model code."""
