"""Keeps libraries quiet that write to the terminal past Python."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

# The descriptor belongs to the process: a thread that saved it while another had sent it to nowhere would lose it.
_turn = threading.RLock()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Sends file descriptor 2 to nowhere: no environment variable stops MediaPipe's own log lines.

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
