"""The generic stage runner: stages, staleness, runs, mapping of clips."""
