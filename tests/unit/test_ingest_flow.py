"""`v2v ingest --flow`: exact flow beside the frames, in three formats and three directions."""

import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.ingesting import ingest, manifest, write_images
from tests.unit.video_files import write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.conditions.flow_given import chain_flow, invert_forward, photometric_error, reframe_flow
from v2vkit.conditions.flow_io import decode_kitti, encode_kitti
from v2vkit.config import make_config
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.extract_flow import STAGE as EXTRACT_FLOW
from v2vkit.stages.extract_flow import FlowConfig
from v2vkit.video.framing import Window

COUNT, SIZE = 8, (48, 32)


def pan(count: int = COUNT, size: tuple[int, int] = SIZE, step: tuple[int, int] = (3, 1)) -> list[np.ndarray]:
    """Frames of a scene that moves by `step` pixels (x to the right, y down) per frame."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 255, (height + 20, width + 40, 3)).astype(np.float32)
    kernel = np.ones(3) / 3
    smooth = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), 1, noise)
    smooth = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), 0, smooth).astype(np.uint8)
    return [
        smooth[20 - t * step[1] : 20 - t * step[1] + height, 40 - t * step[0] : 40 - t * step[0] + width]
        for t in range(count)
    ]


def constant(vector: tuple[float, float], size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.tile(np.float32(vector), (size[1], size[0], 1))


def write_flow(folder: Path, kind: str, flow: np.ndarray, numbers: range) -> Path:
    folder.mkdir(parents=True)
    height, width = flow.shape[:2]
    for t in numbers:
        path = folder / f"frame{t}.{kind}"
        if kind == "png":
            path.write_bytes(encode_kitti(flow))
        elif kind == "flo":
            path.write_bytes(b"PIEH" + struct.pack("<ii", width, height) + flow.astype("<f4").tobytes())
        else:
            np.save(path, flow)
    return folder


def flows(work: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {}
    for shard in sorted((work / "flow").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                found[member.name] = decode_kitti(io.BytesIO(tar.extractfile(member).read()).getvalue())
    return found


@pytest.mark.parametrize(
    ("kind", "stored", "numbers", "settings"),
    [
        ("png", (3, 1), range(COUNT - 1), {}),  # KITTI: forward
        ("flo", (3, 1), range(COUNT - 1), {}),  # Middlebury: forward
        ("png", (3, 1), range(COUNT), {}),
        ("png", (-3, -1), range(1, COUNT), {"flow_direction": "backward"}),
        ("flo", (3, 1), range(1, COUNT), {"flow_direction": "velocity"}),
        ("npy", (3 / 24, -1 / 16), range(COUNT), {}),  # CARLA: velocity in half sizes, y up
        ("npy", (3 / 48, 1 / 32), range(COUNT), {"flow_scale": "48,32"}),
    ],
)
def test_every_format_becomes_backward_flow(tmp_path, kind, stored, numbers, settings):
    frames = write_images(tmp_path / "street", pan())
    folder = write_flow(tmp_path / "flow", kind, constant(stored), numbers)
    ingest(tmp_path / "work", frames, flow=folder, cuts="none", lossless=True, **settings)
    found = flows(tmp_path / "work")
    assert list(found) == [f"street-0000/{t:06d}.flow{k}.png" for t in range(COUNT) for k in (1, 3) if k <= t]
    for name, (vectors, confidence) in found.items():
        k = int(name[-5])
        inside = confidence > 0
        assert inside[4 * k : -4 * k if k == 1 else None, 4 * k :].mean() > 0.95
        assert np.allclose(vectors[inside], (-3 * k, -k), atol=1 / 32)
    own = manifest(tmp_path / "work", "flow")
    assert (own["stage"], own["config"]["strides"]) == ("ingest", [1, 3])
    assert own["inputs"]["frames"] == manifest(tmp_path / "work")["fingerprint"]


@pytest.mark.parametrize(
    ("kind", "stored", "named"),
    [
        ("png", (-3, -1), "backward"),  # forward by default
        ("npy", (-3 / 24, 1 / 16), "backward"),
        ("npy", (3 / 48, 1 / 32), "--flow-scale=48,32"),  # as CARLA's manual has it
    ],
)
def test_a_reading_that_the_frames_contradict_is_refused_and_the_right_one_named(tmp_path, kind, stored, named):
    frames = write_images(tmp_path / "street", pan(step=(3, 1)))
    folder = write_flow(tmp_path / "flow", kind, constant(stored), range(COUNT))
    with raises("flow-mismatch", named):
        ingest(tmp_path / "work", frames, flow=folder, cuts="none")
    assert not (tmp_path / "work").exists()


def test_extract_flow_does_not_replace_it(tmp_path):
    frames = write_images(tmp_path / "street", pan())
    folder = write_flow(tmp_path / "flow", "flo", constant((3, 1)), range(COUNT))
    ingest(tmp_path / "work", frames, flow=folder, cuts="none")
    with raises("artifact-stale", "ingest"):
        run(EXTRACT_FLOW, make_config(FlowConfig, {}, "test"), RunOptions(work=str(tmp_path / "work"), workers=1))
    assert Folder(str(tmp_path / "work" / "flow")).exists("manifest.json")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:50]), "flow-damaged"),
        (lambda path: path.write_bytes(b""), "flow-damaged"),
        (lambda path: path.unlink(), "map-missing"),
    ],
)
def test_damaged_flow_is_refused_before_any_work(tmp_path, spoil, code):
    frames = write_images(tmp_path / "street", pan())
    folder = write_flow(tmp_path / "flow", "flo", constant((3, 1)), range(COUNT - 1))
    spoil(folder / "frame3.flo")
    with raises(code):
        ingest(tmp_path / "work", frames, flow=folder, cuts="none")
    assert not (tmp_path / "work").exists()


def test_arrays_of_another_kind_are_refused(tmp_path):
    frames = write_images(tmp_path / "street", pan())
    folder = write_flow(tmp_path / "flow", "npy", constant((0, 0)), range(COUNT))
    for wrong in (np.zeros((32, 48, 3), np.float32), np.zeros((32, 48, 2), np.uint8)):
        np.save(folder / "frame2.npy", wrong)
        with raises("flow-damaged", "frame2.npy"):
            ingest(tmp_path / "work", frames, flow=folder, cuts="none")
    np.save(folder / "frame2.npy", np.zeros((16, 48, 2), np.float32))
    with raises("size-mismatch", "48x16", "48x32"):
        ingest(tmp_path / "work", frames, flow=folder, cuts="none")
    np.save(folder / "frame2.npy", np.array([{}], object), allow_pickle=True)
    with raises("flow-damaged", "frame2.npy"):
        ingest(tmp_path / "work", frames, flow=folder, cuts="none")


def test_settings_of_flow_need_flow(tmp_path):
    frames = write_images(tmp_path / "street", pan())
    with raises("setting-invalid", "--flow"):
        ingest(tmp_path / "work", frames, flow_direction="backward")
    folder = write_flow(tmp_path / "flow", "flo", constant((3, 1)), range(COUNT))
    with raises("setting-invalid", "0,1"):
        ingest(tmp_path / "work", frames, flow=folder, flow_scale="0,1")


def test_left_out_frames_are_refused(tmp_path):
    video = write_file(tmp_path / "street.mp4", pan(16, step=(2, 1)))
    folder = write_flow(tmp_path / "flow", "flo", constant((2, 1)), range(16))
    with raises("setting-conflict", "--fps"):
        ingest(tmp_path / "work", video, flow=folder, fps="12.5", min_frames=4, cuts="none")


def test_flow_is_cropped_and_scaled_like_its_frame(tmp_path):
    flow = constant((-4, 2))
    flow[:, :24] = (-8, 0)
    cropped, confidence = reframe_flow(flow, np.ones((32, 48), np.float32), Window(8, 0, 32, 32), (16, 16))
    assert np.array_equal(np.unique(cropped.reshape(-1, 2), axis=0), [[-4, 0], [-2, 1]])
    assert confidence[:, :4].max() == 0  # points out of the frame on the left
    assert confidence[:15, 8:].min() == 1


def test_inverted_flow_trusts_neither_hidden_nor_hiding_pixels():
    """A square moves right by 4 over a still ground: what it leaves was hidden, and where it lands two motions meet."""
    forward = constant((0, 0))
    forward[8:16, 8:16] = (4, 0)
    backward, confidence = invert_forward(forward, np.ones((32, 48), np.float32))
    assert confidence[8:16, 8:12].max() == 0  # hidden before
    assert confidence[8:16, 16:20].max() == 0  # the square and the ground both land here
    assert np.allclose(backward[8:16, 12:16], (-4, 0))
    assert confidence[8:16, 12:16].min() == 1
    still = np.ones((32, 48), bool)
    still[8:16, 8:20] = False
    assert np.allclose(backward[still], 0)
    assert confidence[still].min() == 1


def test_chained_flow_warps_like_the_real_one(tmp_path):
    images = pan(4)
    one = constant((-3, -1)), np.ones((32, 48), np.float32)
    three = chain_flow(one, chain_flow(one, one))
    assert photometric_error(images[0], images[3], three) < 1
    assert photometric_error(images[0], images[3], one) > 10
    assert three[1][:, :9].max() == 0  # leaves the frame


def test_chained_flow_is_not_trusted_at_motion_boundaries():
    older = constant((0, 0))
    older[:, 24:] = (-6, 0)
    step = constant((-0.5, 0)), np.ones((32, 48), np.float32)
    flow, confidence = chain_flow(step, (older, np.ones((32, 48), np.float32)))
    assert confidence[:, 24].max() == 0
    assert np.allclose(flow[:, 30:], (-6.5, 0))
    assert confidence[:, 32:].min() == 1
