"""When source maps are made and frames written while a network renders, and that nothing is lost on the way."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from v2vkit.inference.driving import Drive, Driven
from v2vkit.inference.render import pace, write_each

CPU, GPU = torch.device("cpu"), torch.device("cuda")  # only their names matter here
IMAGE = np.zeros((2, 2, 3), np.uint8)


def _drive(count: int, events: list[str]) -> Drive:
    def frames() -> Iterator[Driven]:
        for t in range(count):
            events.append("map")
            yield Driven(np.full((1, 2, 2), t, np.float32), pts=t)

    return Drive(frames(), Fraction(25), num_frames=count)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_every_frame_is_written_once_and_in_order(device: torch.device) -> None:
    written: list[int | None] = []
    rendered = ((driven, IMAGE) for driven in pace(_drive(11, []), device).frames)
    counts = list(write_each(rendered, lambda driven, _: written.append(driven.pts), device))
    assert written == list(range(11))
    assert sum(counts) == 11


def test_on_a_cpu_maps_and_frames_come_in_bursts() -> None:
    events: list[str] = []
    drive = pace(_drive(24, events), CPU)
    assert drive.num_frames == 24
    for _ in drive.frames:
        events.append("frame")
    assert events.count("map") == events.count("frame") == 24
    assert sum(a != b for a, b in pairwise(events)) < 24 / 2  # turns taken; one after another they would be 47


@pytest.mark.parametrize("device", [CPU, GPU])
def test_what_goes_wrong_on_the_way_is_told(device: torch.device) -> None:
    def frames() -> Iterator[Driven]:
        yield Driven(np.zeros((1, 2, 2), np.float32))
        raise OSError("broken")

    def refuse(*_: object) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="broken"):
        list(pace(Drive(frames(), Fraction(25)), device).frames)
    with pytest.raises(OSError, match="full"):
        list(write_each(((driven, IMAGE) for driven in _drive(3, []).frames), refuse, device))
