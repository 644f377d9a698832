"""What a launcher such as torchrun says about this process, from the environment variables that they all set."""

import os


def launched_processes() -> int:
    """How many processes work on this command; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_rank() -> int:
    """Number of this process among them; only 0 writes artifacts."""
    return int(os.environ.get("RANK", "0")) if launched_processes() > 1 else 0
