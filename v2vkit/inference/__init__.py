"""Generating video frame by frame."""
