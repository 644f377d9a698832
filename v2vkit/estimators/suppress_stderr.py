"""Suppresses output that libraries write directly to file descriptor 2."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

# The descriptor belongs to the process: a thread that saved it while another had redirected it would lose it.
_turn = threading.RLock()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device: no environment variable stops MediaPipe's log lines.

    One thread at a time.
    """
    with _turn:
        sys.stderr.flush()
        saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            os.close(null)
