"""The sample grid: a picture of the generator's outputs, one column per frame, one row per map."""

import numpy as np

from v2vkit.arrays import Image
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.flow import flow_color
from v2vkit.models.generator import Output
from v2vkit.models.layout import to_image
from v2vkit.training.data.batch import VideoBatch


def sample_grid(source: Conditioning, sequence: VideoBatch, frames: list[int], outputs: list[Output]) -> Image:
    """Rows: source, real, output, hallucination, warped, mask, flow; columns: frames of the batch's first sequence."""
    columns = []
    for t, output in zip(frames, outputs, strict=True):
        real, fake = to_image(sequence.x[0, t]), to_image(output.x_fake[0])
        rows = [source.preview(sequence.s[0, t].cpu().numpy()), real, fake, to_image(output.h[0])]
        blank = np.zeros_like(real)
        if output.flow is None or output.mask is None or output.warped is None:
            rows += [blank, blank, blank]
        else:
            mask = (output.mask[0, 0].detach().cpu().numpy() * 255).astype(np.uint8)
            flow = output.flow[0].detach().permute(1, 2, 0).float().cpu().numpy()
            rows += [to_image(output.warped[0]), np.repeat(mask[..., None], 3, 2), flow_color(flow)]
        columns.append(np.concatenate(rows, 0))
    return np.concatenate(columns, 1)
