"""What a launcher such as torchrun says about this process, from the environment variables that they all set."""

import os


def launched_processes() -> int:
    """How many processes work on this command; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_rank() -> int:
    """Number of this process among them; only 0 writes artifacts."""
    return int(os.environ.get("RANK", "0")) if launched_processes() > 1 else 0


def agree(yes: bool) -> bool:
    """The first process's answer, in every process, once all are here; `yes` itself where none has met the others."""
    if launched_processes() == 1:
        return yes
    from torch import distributed

    if not distributed.is_initialized():
        return yes
    answers = [yes] * distributed.get_world_size()
    distributed.all_gather_object(answers, yes)
    return answers[0]
