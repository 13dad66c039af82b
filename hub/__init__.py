"""What is stored and shared: files, fingerprints, errors about them. Knows no model code."""
