"""Benchmarks: each prints a table of ratios from one run."""

import os

# As the command `v2v` sets it, before anything loads torch's threads.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
