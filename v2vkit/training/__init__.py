"""Dataset, schedule, loop and checkpoints."""
