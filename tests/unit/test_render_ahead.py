"""When frames are conditioned and written while a network renders, and that nothing is lost on the way."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch

from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.session import prepare_ahead, write_each
from v2vkit.video.stream import InputFrame

CPU, GPU = torch.device("cpu"), torch.device("cuda")  # only their names matter here
IMAGE = np.zeros((2, 2, 3), np.uint8)


def _frames(count: int, events: list[str]) -> Iterator[ConditionedFrame]:
    for t in range(count):
        events.append("conditioned")
        yield ConditionedFrame(np.full((1, 2, 2), t, np.float32), InputFrame(pts=t))


@pytest.mark.parametrize("device", [CPU, GPU])
def test_every_frame_is_written_once_and_in_order(device: torch.device) -> None:
    written: list[int | None] = []
    rendered = ((frame, IMAGE) for frame in prepare_ahead(_frames(11, []), device))
    told = [frame.frame.pts for frame in write_each(rendered, lambda frame, _: written.append(frame.frame.pts), device)]
    assert written == told == list(range(11))


def test_on_a_cpu_several_frames_are_conditioned_and_then_rendered() -> None:
    events: list[str] = []
    for _ in prepare_ahead(_frames(24, events), CPU):
        events.append("frame")
    assert events.count("conditioned") == events.count("frame") == 24
    assert sum(a != b for a, b in pairwise(events)) < 24 / 2  # turns taken; one after another they would be 47


@pytest.mark.parametrize("device", [CPU, GPU])
def test_errors_of_source_and_transfer_are_raised(device: torch.device) -> None:
    def frames() -> Iterator[ConditionedFrame]:
        yield ConditionedFrame(np.zeros((1, 2, 2), np.float32))
        raise OSError("broken")

    def refuse(*_: object) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="broken"):
        list(prepare_ahead(frames(), device))
    with pytest.raises(OSError, match="full"):
        list(write_each(((frame, IMAGE) for frame in _frames(3, [])), refuse, device))
