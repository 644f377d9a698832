"""Metrics: one row each in `registry`, one file each here; `contract` says what a metric is."""
