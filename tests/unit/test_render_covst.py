"""COVST is given the flow of the very frame that it makes, in training and in rendering alike."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conditions import use_estimator
from tests.flow_scenes import write_frames
from tests.stage_results import make
from tests.unit.rendering import conditioned, save_untrained
from tests.unit.test_make_sketches import FakeFace
from v2vkit.artifacts.folder import Folder
from v2vkit.conditions.clips import ClipReader
from v2vkit.inference.conditioned import stored
from v2vkit.inference.workspace import annotated_frames
from v2vkit.models.covst import CovstGenerator
from v2vkit.models.generator import Output
from v2vkit.models.image_generator import ImageGeneratorConfig
from v2vkit.pipeline.stage import load_inputs
from v2vkit.stages.extract_flow import STAGE as FLOW
from v2vkit.stages.make_sketches import STAGE as SKETCHES
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.window import begin_window, generate_chunk

CONFIG = ImageGeneratorConfig(in_channels=5, width=8, num_down=2, num_blocks=1, covst=1.0)


class _Recording(CovstGenerator):
    """Notes what it is given."""

    def __init__(self) -> None:
        super().__init__(CONFIG)
        self.given: list[Tensor] = []

    def forward(self, source: Tensor, history: list[Tensor] | None = None, **settings: object) -> list[Output]:
        self.given.append(source)
        return super().forward(source, history, **settings)  # type: ignore[arg-type]


def test_in_training_a_frame_comes_with_its_own_flow() -> None:
    """The picture moves by t pixels from frame t - 1 to frame t, and the flow is the surer the later."""
    num_frames, generator = 5, _Recording()
    times = torch.arange(num_frames, dtype=torch.float32)[None, :, None, None, None]
    sequence = VideoBatch(
        x=torch.zeros(1, num_frames, 3, 8, 12),
        s=torch.rand(1, num_frames, 5, 8, 12),
        flow={1: torch.cat([-times, 2 * times], 2).expand(1, num_frames, 2, 8, 12)},
        confidence={1: (times / 8).expand(1, num_frames, 1, 8, 12)},
    )
    state = begin_window(sequence, generator, from_nothing=True)
    for frames in ([0, 1, 2], [3, 4]):
        generate_chunk(generator, sequence, state, frames)
    assert len(generator.given) == num_frames
    for t, source in enumerate(generator.given):
        assert torch.equal(source[:, :5], sequence.s[:, t])
        x, y, confidence = source[0, 5:]
        assert (x == -t).all()
        assert (y == 2 * t).all()
        assert (confidence == t / 8).all()


STEPS = (0, 3, -2, 4)
"""By how many pixels the picture has moved to the right since the frame before."""


def _moving() -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    wide = cv2.resize(noise, (160, 96), interpolation=cv2.INTER_CUBIC)
    frames = [np.ascontiguousarray(wide[:, 32 - x : 128 - x]) for x in np.cumsum(STEPS)]
    for frame in frames:
        frame[0, 0] = 120  # where the fake estimator sees its face
    return frames


def test_in_rendering_a_frame_comes_with_its_own_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_estimator(monkeypatch, "face", "mediapipe", f"{FakeFace.__module__}:FakeFace")
    write_frames(tmp_path, {"a": _moving()})
    for stage in (FLOW, SKETCHES):
        make(stage, stage.config(), tmp_path)
    work, info = Folder(str(tmp_path)), save_untrained(tmp_path, "face", size=(96, 96))
    source = info.conditioning
    manifests = load_inputs(work, ("frames", "sketches", "flow"))
    reader = ClipReader(work, manifests)
    frames = [stored(frame, info) for frame in annotated_frames(reader, source, [reader.clips], flow=True)]
    inside = slice(24, -24)
    for t, step in enumerate(STEPS):
        flow = frames[t].flow
        assert flow is not None
        assert flow.shape == (3, 96, 96)
        if t == 0:
            assert not flow.any(), "nothing is before it"
            continue
        assert np.median(flow[0, inside, inside]) == pytest.approx(-step, abs=0.2)
        assert np.median(flow[1, inside, inside]) == pytest.approx(0, abs=0.2)
        assert np.median(flow[2, inside, inside]) > 0.5
        vectors, confidence = reader.flow("a", t, 1) or (None, None)
        np.testing.assert_array_equal(flow[:2].transpose(1, 2, 0), vectors)
        np.testing.assert_array_equal(flow[2], confidence)
        np.testing.assert_array_equal(frames[t].conditioning(None)[-3:], flow)
    takes_flow = info.model_copy(update={"network": CONFIG})
    for frame, other in zip(conditioned(tmp_path, takes_flow, maps=True), frames, strict=True):
        np.testing.assert_array_equal(frame.flow, other.flow)
    assert all(frame.flow is None for frame in conditioned(tmp_path, info, maps=True))
