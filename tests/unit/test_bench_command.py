"""What a command uses is counted with the processes that it starts."""

import subprocess
import sys

import pytest

from benchmarks.command import measured

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_BUSY = "import time\nkept = bytes(1) * (64 << 20)\nwhile time.process_time() < 1: pass\ntime.sleep(2)"
_STARTS_ANOTHER = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_BUSY!r}], start_new_session=True)"


def test_processes_that_it_starts_count() -> None:
    used = measured(["-c", _STARTS_ANOTHER])
    assert used.processor > 0.9
    assert used.seconds >= 1
    assert used.memory > 64 << 20


def test_a_failing_command_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        measured(["-c", "raise SystemExit(3)"])
