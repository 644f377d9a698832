"""Metrics, reports and preference studies."""
