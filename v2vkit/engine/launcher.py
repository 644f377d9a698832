"""Processes of a launcher such as torchrun, from the environment variables that launchers set."""

import os


def launched_processes() -> int:
    """Number of processes of this command; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_rank() -> int:
    """Rank of this process; only rank 0 writes artifacts."""
    return int(os.environ.get("RANK", "0")) if launched_processes() > 1 else 0


def agree(yes: bool) -> bool:
    """Broadcast rank 0's answer to all processes (a barrier); `yes` itself without torch.distributed."""
    if launched_processes() == 1:
        return yes
    from torch import distributed

    if not distributed.is_initialized():
        return yes
    answers = [yes] * distributed.get_world_size()
    distributed.all_gather_object(answers, yes)
    return answers[0]
