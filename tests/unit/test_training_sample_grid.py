"""The sample grids that training writes: which row shows what."""

import numpy as np
import torch
from torch import Tensor

from tests.conditions import of_domain
from v2vkit.conditions.flow import flow_color
from v2vkit.models.generator import Output
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.sample_grid import sample_grid

HEIGHT, WIDTH = 4, 6
POSE = of_domain("pose")


def grey(*values: float) -> Tensor:
    """A picture of every value: a batch [B, 3, H, W]."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, HEIGHT, WIDTH)


def test_every_row_shows_what_it_says() -> None:
    """Of the batch's first sequence; a frame from nothing leaves the rows of the flow black."""
    s = torch.rand(2, 4, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    x = torch.stack([grey(-1 + t / 5, 0.9) for t in range(4)], 1)
    sequence = VideoBatch(x, s, {}, {})
    flow = torch.randn(2, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    outputs = [
        Output(grey(0.2, 0.9), h=grey(0.4, 0.9), flow=None, mask=None, warped=None),
        Output(grey(0.6, 0.9), h=grey(0.8, 0.9), flow=flow, mask=grey(0.2, 0.9)[:, :1], warped=grey(1.0, 0.9)),
    ]
    grid = sample_grid(POSE, sequence, [2, 3], outputs)
    assert grid.shape == (7 * HEIGHT, 2 * WIDTH, 3)
    assert grid.dtype == np.uint8
    cells = grid.reshape(7, HEIGHT, 2, WIDTH, 3).transpose(2, 0, 1, 3, 4)
    for column, t in ((0, 2), (1, 3)):
        assert np.array_equal(cells[column, 0], POSE.preview(s[0, t].numpy()))
    assert np.array_equal(cells[1, 6], flow_color(flow[0].permute(1, 2, 0).numpy()))
    # Real, output, hallucination, warped, mask: (value + 1) * 127.5, the mask's share of 255.
    expected = [[51, 153, 178, 0, 0], [76, 204, 230, 255, 51]]
    for column, values in enumerate(expected):
        for row, value in enumerate(values, 1):
            assert np.ptp(cells[column, row]) == 0
            assert abs(int(cells[column, row, 0, 0, 0]) - value) <= 1, (column, row)
    assert not cells[0, 6].any()
