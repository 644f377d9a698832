"""Real clips and reference tensors that lie beside the project on some machines; tests that use them skip elsewhere."""

import os
from pathlib import Path

import pytest

_candidate = Path(os.environ.get("V2V_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SHARED = _candidate if (_candidate / "real").is_dir() else None

needs_shared = pytest.mark.skipif(SHARED is None, reason="the real clips are not on this machine")
