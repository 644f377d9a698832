"""Processes of a launcher such as torchrun, from the environment variables that launchers set."""

import os


def launched_processes() -> int:
    """Number of processes of this command; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_rank() -> int:
    """Rank of this process; only rank 0 writes artifacts."""
    return int(os.environ.get("RANK", "0")) if launched_processes() > 1 else 0


def agree(yes: bool) -> bool:
    """Rank 0's answer in all processes; `yes` itself without torch.distributed.

    A barrier: answers are gathered, because a broadcast would not make rank 0 wait for the others.
    """
    if launched_processes() == 1:
        return yes
    from torch import distributed

    if not distributed.is_initialized():
        return yes
    answers = [yes] * distributed.get_world_size()
    distributed.all_gather_object(answers, yes)
    return answers[0]


def join_attempt(backend: str) -> None:
    """Join the processes that torchrun started together with this one, and none that it started before a restart.

    Over its restarts torchrun keeps one store, in which processes leave their addresses. A restarted process that asks
    for them before the others have written theirs gets the old ones and cannot connect (seen with torch 2.15 and gloo).
    So each attempt gets its own part of the store. Other launchers start a new store each time: nothing is done for
    them.

    Args:
        backend: of torch.distributed: gloo or nccl.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    from torch import distributed

    rank, number = launched_rank(), launched_processes()
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(address, port, number, is_master=False)
    attempt = distributed.PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    distributed.init_process_group(backend, store=attempt, rank=rank, world_size=number)
