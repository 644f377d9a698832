"""Third-party estimators, one library per file, behind four Protocols."""
