"""The benchmark of the data path, small."""

import pytest

from benchmarks import data_path
from benchmarks.slow_store import SlowStore


def test_every_shard_is_one_request_and_the_second_run_asks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_path, "SIZE", (64, 32))
    monkeypatch.setattr(data_path, "CLIPS", 1)
    monkeypatch.setattr(data_path, "LATENCY", 0.0)
    monkeypatch.setattr(data_path, "step_gflop", lambda: 1000.0)
    rows = {what: value for what, value, _ in data_path.run()}
    assert rows["data: requests, store (3 shards)"] == 3
    assert rows["data: requests, store, cached (3 shards)"] == 0
    demand = rows["data: most batches of 4 frames a second that a step asks for, 400 TFLOP/s"]
    assert demand == pytest.approx(400e12 / 1e12 / 4)
    rate = rows["data: batches a second of one process, store, cached, second epoch"]
    assert rows["data: processes that feed the step, store, cached, second epoch"] == pytest.approx(demand / rate)
    SlowStore.requests.clear()
