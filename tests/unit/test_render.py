"""Rendering: as many frames out as in, their times and sound kept, prepared as for training, in constant memory."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from skimage import data

from tests.conditions import channels_of
from tests.errors import raises
from tests.faces import photo
from tests.hooks import before_forward
from tests.networks import needs_ultralytics, noise, yolo_weights
from tests.unit.rendering import conditioned, render, save_untrained
from tests.unit.training_data import make_workspace
from tests.unit.video_files import moving_frames, read_packets, read_raw, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.checkpoint.model_file import load_model
from v2vkit.cli.main import EXIT_PROBLEMS, cli
from v2vkit.conditions.conditioning import to_unit
from v2vkit.conditions.label_ids import instance_edges
from v2vkit.conditions.people_smoothing import smooth_people
from v2vkit.conditions.regions import region_ids
from v2vkit.conditions.skeleton import draw_people, skeleton_channels
from v2vkit.estimators.ultralytics_models import YoloPose
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.framing import frame_images
from v2vkit.inference.rollout import Rollout
from v2vkit.inference.session import Session
from v2vkit.models.generator import VideoGenerator, history_from_images
from v2vkit.models.image_generator import FrameGenerator, ImageGeneratorConfig
from v2vkit.models.layout import to_image
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions, load_input
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig
from v2vkit.video.encode import VideoWriter
from v2vkit.video.probe import probe
from v2vkit.weights import file_digest

pytest.importorskip("mediapipe")


def _faces(count: int) -> list[np.ndarray]:
    return [photo(200, 240, dx=2 * t) for t in range(count)]


def test_frames_times_and_sound_are_kept(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    rate = Fraction(30000, 1001)
    source = write_file(tmp_path / "in.mp4", _faces(12), rate=rate, audio="aac")
    assert render(source, tmp_path / "out.mp4", tmp_path) == []
    frames, times = read_raw(tmp_path / "out.mp4")
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 12
    assert times == read_raw(source)[1]
    assert probe(tmp_path / "out.mp4").fps == rate
    assert read_packets(tmp_path / "out.mp4") == read_packets(source)


def test_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    times = [0, 1, 2, 5, 6, 10, 11, 12]
    source = write_file(tmp_path / "in.mp4", _faces(8), rate=Fraction(25), stamps=times)
    render(source, tmp_path / "out.mp4", tmp_path)
    assert read_raw(tmp_path / "out.mp4")[1] == read_raw(source)[1]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_last_frame_is_shown_as_long_as_in_the_driving_video(tmp_path: Path, ending: str) -> None:
    save_untrained(tmp_path, "face")
    source = tmp_path / f"in.{ending}"
    with VideoWriter(source, fps=Fraction(8, 10), time_base=Fraction(1, 1000)) as writer:
        for image, stamp in zip(_faces(8), [0, 40, 80, 3000, 3040, 8000, 8040, 8080], strict=True):
            writer.write(image, pts=stamp, duration=1920)
    for name, part, seconds in (("whole", {}, 10), ("end", {"start": 2}, 7), ("middle", {"duration": 4}, 8)):
        render(source, tmp_path / f"{name}.mp4", tmp_path, **part)
        assert probe(tmp_path / f"{name}.mp4").duration == pytest.approx(seconds, abs=0.001)


def test_frames_without_a_face_are_counted_and_rendered(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    frames = _faces(10)
    frames[4:6] = [np.zeros_like(frames[0])] * 2
    source = write_file(tmp_path / "in.mp4", frames)
    result = CliRunner().invoke(
        cli, ["render", str(source), str(tmp_path / "out.mp4"), "--work", str(tmp_path), "--device", "cpu"]
    )
    assert result.exit_code == EXIT_PROBLEMS
    assert "no face: 2 frames" in result.output
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 10


def test_rendering_prepares_frames_as_training_does(tmp_path: Path) -> None:
    """The maps made on the fly equal those that `ingest --lossless` and `make-sketches` write."""
    from v2vkit.artifacts.manifest import read_manifest
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.pipeline.runner import run
    from v2vkit.stages.ingest import STAGE as INGEST
    from v2vkit.stages.ingest import IngestConfig
    from v2vkit.stages.make_sketches import STAGE as SKETCHES
    from v2vkit.stages.make_sketches import SketchConfig

    source = write_file(tmp_path / "in.mp4", _faces(9))
    options = RunOptions(work=str(tmp_path), workers=1)
    ingest = IngestConfig(sources=(str(source),), size="96x80", crop="center", cuts="none", lossless=True)
    run(INGEST, ingest, options)
    run(SKETCHES, SketchConfig(smooth=3), options)
    info = save_untrained(tmp_path, "face", size=(96, 80), frames={"crop": "center"})
    work = Folder(str(tmp_path))
    manifests = {kind: read_manifest(work / kind) for kind in ("frames", "sketches")}
    reader = ClipReader(work, {kind: manifest for kind, manifest in manifests.items() if manifest is not None})
    clip = reader.clips[0].name
    frames = list(conditioned(source, info))
    assert len(frames) == 9
    for t, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.s, channels_of(info, reader, clip, t))
        np.testing.assert_array_equal(frame.regions, reader.regions(info.conditioning, clip, t))


POSE_MAPS = {"pose": "mediapipe", "openpose": None, "min_score": None, "smooth": 3, "stroke": 0, "missing": "hold"}


def _bodies(count: int) -> list[np.ndarray]:
    """A person to the hips who moves to the right; nobody in the third frame."""
    frames = [np.roll(data.astronaut()[::2, ::2], 2 * t, 1) for t in range(count)]
    frames[2] = np.zeros_like(frames[2])
    return frames


def test_rendering_prepares_poses_as_training_does(tmp_path: Path) -> None:
    """The maps made on the fly equal those that `ingest --lossless` and `estimate-pose` write."""
    from v2vkit.artifacts.manifest import read_manifest
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.pipeline.runner import run
    from v2vkit.stages.estimate_pose import STAGE as POSES
    from v2vkit.stages.estimate_pose import PoseConfig
    from v2vkit.stages.ingest import STAGE as INGEST
    from v2vkit.stages.ingest import IngestConfig

    source = write_file(tmp_path / "in.mp4", _bodies(6))
    options = RunOptions(work=str(tmp_path), workers=1)
    run(INGEST, IngestConfig(sources=(str(source),), size="96x96", cuts="none", min_frames=1, lossless=True), options)
    run(POSES, PoseConfig(), options)
    work = Folder(str(tmp_path))
    manifests = {kind: read_manifest(work / kind) for kind in ("frames", "poses")}
    reader = ClipReader(work, {kind: manifest for kind, manifest in manifests.items() if manifest is not None})
    assert manifests["poses"] is not None
    assert manifests["poses"].missing == {"no person": 1}
    info = save_untrained(tmp_path, "pose", size=(96, 96), maps=manifests["poses"].config, maps_stage="estimate-pose")
    clip = reader.clips[0].name
    frames = list(conditioned(source, info))
    assert [frame.found for frame in frames].count(False) == 1
    assert len(frames) == 6
    for t, frame in enumerate(frames):
        assert frame.s.any()
        np.testing.assert_array_equal(frame.s, channels_of(info, reader, clip, t))


def test_poses_are_rendered_and_compared(tmp_path: Path) -> None:
    save_untrained(tmp_path, "pose", size=(64, 64), maps=POSE_MAPS, maps_stage="estimate-pose")
    source = write_file(tmp_path / "in.mp4", _bodies(4))
    assert render(source, tmp_path / "out.mp4", tmp_path, compare=True) == [f"no person: 1 frame of {source}"]
    frames = read_raw(tmp_path / "out.mp4")[0]
    assert [frame.shape for frame in frames] == [(64, 3 * 64, 3)] * 4
    skeleton = frames[0][:, 64:128].astype(int)
    assert np.median(skeleton) < 20, "a skeleton on black"
    assert (np.ptp(skeleton, axis=2) > 60).sum() > 20, "in colours"


def test_a_pose_model_can_be_cropped_around_the_face(tmp_path: Path) -> None:
    frames = {"crop": "face", "face": "mediapipe", "face_weights": None}
    info = save_untrained(tmp_path, "pose", size=(64, 64), maps=POSE_MAPS, frames=frames)
    source = write_file(tmp_path / "in.mp4", [data.astronaut()] * 3)
    image = next(conditioned(source, info)).frame.image
    assert image is not None
    assert np.abs(image.astype(int) - cv2.resize(data.astronaut(), (64, 64)).astype(int)).mean() > 20


def test_poses_of_yolo_are_made_with_the_weights_of_training(tmp_path: Path) -> None:
    needs_ultralytics()
    weights = yolo_weights(tmp_path / "random.pt", "pose")
    maps = POSE_MAPS | {"pose": "yolo", "weights": str(weights), "device": "cpu", "smooth": 0}
    estimator = {"name": "yolo", "version": "v", "weights": file_digest(weights)}
    changes = {"maps": maps, "maps_stage": "estimate-pose", "estimator": estimator}
    info = save_untrained(tmp_path, "pose", size=(96, 64), **changes)
    source = write_file(tmp_path / "in.mp4", [noise(64, 96, seed) for seed in range(2)])
    frames = list(conditioned(source, info))
    images = [frame.frame.image for frame in frames if frame.frame.image is not None]
    people = smooth_people(iter(images), YoloPose(weights=weights), min_score=0.2)
    for frame, (_, found, _) in zip(frames, people, strict=True):
        assert frame.s.any()
        np.testing.assert_array_equal(frame.s, to_unit(skeleton_channels(draw_people(found, (96, 64)))))
    weights.unlink()
    with raises("weights-missing", "random.pt"):
        conditioned(source, info)


def test_key_points_of_openpose_are_not_made_from_a_video(tmp_path: Path) -> None:
    save_untrained(tmp_path, "pose", maps=POSE_MAPS | {"openpose": "keypoints"})
    source = write_file(tmp_path / "in.mp4", _bodies(3))
    with raises("maps-required", "--maps"):
        render(source, tmp_path / "out.mp4", tmp_path)


def test_two_halves_with_saved_state_equal_one_go(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    generator, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    sources = np.random.default_rng(0).random((8, 15, 48, 64), dtype=np.float32)
    whole = Rollout(generator)
    expected = [whole.step(s).x_fake for s in sources]
    first = Rollout(generator)
    outputs = [first.step(s).x_fake for s in sources[:4]]
    second = Rollout(generator, history=first.history, sources=list(first.sources))
    outputs += [second.step(s).x_fake for s in sources[4:]]
    assert all(torch.equal(a, b) for a, b in zip(expected, outputs, strict=True))
    assert second.history is not None
    assert sum(tensor.numel() for tensor in second.history) == 6 * 48 * 64


def test_past_frames_matter(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    generator, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    sources = np.random.default_rng(0).random((3, 15, 48, 64), dtype=np.float32)
    rollout, fresh = Rollout(generator), Rollout(generator)
    for s in sources:
        last = rollout.step(s)
    assert not torch.equal(last.x_fake, fresh.step(sources[2]).x_fake)


def _from_nothing(work: Path) -> None:
    """An untrained model whose first frames leave zeros out of its encoder: norms upsample_to their rounding errors."""
    layers = save_untrained(work, "face").generator
    save_untrained(work, "face", network=layers.model_copy(update={"zero_history": False}))


def test_half_precision_changes_little(tmp_path: Path) -> None:
    _from_nothing(tmp_path)
    generator, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    s = np.random.default_rng(0).random((15, 48, 64), dtype=np.float32)
    exact, half = (Rollout(generator, precision=precision).step(s).x_fake for precision in ("fp32", "bf16"))
    assert half.dtype == torch.float32
    assert 0 < float((exact - half).abs().mean()) < 0.1 * float(exact.std())


@pytest.mark.parametrize(("norm", "computed"), [("instance", torch.bfloat16), ("batch", None)])
def test_auto_precision_is_bf16_where_it_is_fast_but_not_for_imported_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, norm: str, computed: torch.dtype | None
) -> None:
    """The first-frame model's frames too; imported models, which have batch norm, must give the published images."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    config = ImageGeneratorConfig(in_channels=15, width=8, num_down=2, num_blocks=1, norm=norm)
    first_frame_model = FrameGenerator(config).eval()
    layers = save_untrained(tmp_path, "face").generator
    generator = VideoGenerator(layers.model_copy(update={"norm": norm})).eval()
    seen: list[torch.dtype | None] = []

    def note(*_: object) -> None:
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)

    for network in (generator, first_frame_model):
        network.register_forward_pre_hook(note)
    rollout = Rollout(generator, first_frame_model=first_frame_model, precision="auto")
    for s in np.random.default_rng(0).random((3, 15, 48, 64), dtype=np.float32):
        rollout.step(s)
    assert seen == [computed] * 3
    assert not torch.is_autocast_enabled("cpu")


def test_precision_of_rendering_is_a_setting(tmp_path: Path) -> None:
    _from_nothing(tmp_path)
    source = write_file(tmp_path / "in.mp4", _faces(1))
    for precision in ("fp32", "bf16"):
        render(source, tmp_path / f"{precision}.mkv", tmp_path, precision=precision, crf=0)
    exact, half = (np.array(read_raw(tmp_path / f"{precision}.mkv")[0], int) for precision in ("fp32", "bf16"))
    assert 0 < np.abs(exact - half).mean() < 10


def test_compare_writes_the_frame_the_map_and_the_output(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    source = write_file(tmp_path / "in.mp4", _faces(3))
    render(source, tmp_path / "out.mp4", tmp_path, compare=True)
    assert read_raw(tmp_path / "out.mp4")[0][0].shape == (48, 3 * 64, 3)


def test_part_of_a_video(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    source = write_file(tmp_path / "in.mp4", _faces(20), rate=Fraction(10), audio="aac")
    render(source, tmp_path / "out.mp4", tmp_path, start=0.5, duration=1.0)
    frames, times = read_raw(tmp_path / "out.mp4")
    assert len(frames) == 10
    assert times[0] == 0


def test_ingest_and_render_take_the_same_part_of_an_avi_with_b_frames(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    source = write_file(tmp_path / "in.avi", _faces(18), rate=24, options={"bf": "3", "b-adapt": "0"})
    render(source, tmp_path / "out.mp4", tmp_path, start=0.125, duration=0.5)
    part = {"cuts": "none", "start": 0.125, "duration": 0.5}
    run(INGEST, IngestConfig(sources=(str(source),), **part), RunOptions(work=str(tmp_path), workers=1))
    frames, times = read_raw(tmp_path / "out.mp4")
    assert len(frames) == load_input(Folder(str(tmp_path)), "frames").num_frames == 12
    assert times == [Fraction(i, 24) for i in range(12)]


def test_street_is_driven_by_a_folder_of_label_maps(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    folder = tmp_path / "labels"
    folder.mkdir()
    for t in range(11):
        (folder / f"{t}.png").write_bytes(encode_png(np.full((50, 70), t % 12, np.uint8)))
    render(folder, tmp_path / "out.mp4", tmp_path)
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 11
    (folder / "3.png").write_bytes(encode_png(np.full((50, 70), 77, np.uint8)))
    with raises("label-id-out-of-range", "77"):
        render(folder, tmp_path / "bad.mp4", tmp_path)
    assert not (tmp_path / "bad.mp4").exists()


def test_label_maps_may_have_instance_maps_beside_them(tmp_path: Path) -> None:
    """Two objects of one label that touch: an edge between them and a region each, as in training."""
    info = save_untrained(tmp_path, "street")
    labels, instances = tmp_path / "labels", tmp_path / "instances"
    objects = np.full((50, 70), 7, np.uint16)
    objects[:, 35:] = 300
    for folder, ids in ((labels, np.full((50, 70), 3, np.uint8)), (instances, objects)):
        folder.mkdir()
        for t in range(3):
            (folder / f"{t}.png").write_bytes(encode_png(ids))
    plain = next(conditioned(labels, info))
    assert not plain.s[-1].any()
    frames = list(conditioned(labels, info, instances=str(instances)))
    assert len(frames) == 3
    small = np.where(np.arange(64) < 32, 7, 300).astype(np.uint16)[None].repeat(48, 0)
    for frame in frames:
        np.testing.assert_array_equal(frame.s[-1], instance_edges(small))
        regions = info.conditioning.regions(frame.frame.annotations)
        np.testing.assert_array_equal(regions, region_ids(np.full_like(small, 3), small))
    render(labels, tmp_path / "out.mp4", tmp_path, instances=str(instances))
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 3

    (instances / "2.png").write_bytes(encode_png(objects[:-1]))
    with raises("size-mismatch", "2.png", "70x49", "70x50"):
        render(labels, tmp_path / "bad.mp4", tmp_path, instances=str(instances))
    (instances / "2.png").unlink()
    with raises("map-missing", "2.png"):
        render(labels, tmp_path / "bad.mp4", tmp_path, instances=str(instances))
    for source, maps in ((write_file(tmp_path / "in.mp4", moving_frames(3)), False), (tmp_path, True)):
        with raises("setting-unused", "--instances"):
            render(source, tmp_path / "bad.mp4", tmp_path, instances=str(instances), maps=maps)
    save_untrained(tmp_path, "face")
    with raises("setting-unused", "--instances"):
        render(labels, tmp_path / "bad.mp4", tmp_path, instances=str(instances))
    assert not (tmp_path / "bad.mp4").exists()


def test_street_is_driven_by_the_maps_of_a_workspace(tmp_path: Path) -> None:
    options = make_workspace(tmp_path / "data", num_clips=2, clip_frames=5)
    save_untrained(tmp_path, "street", size=(32, 24))
    render(Path(options.work), tmp_path / "out.mp4", tmp_path, maps=True)
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 10
    save_untrained(tmp_path, "street", size=(64, 48))
    with raises("size-mismatch", "32x24", "64x48"):
        render(Path(options.work), tmp_path / "out.mp4", tmp_path, maps=True)


def test_street_cannot_be_driven_by_a_video(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    source = write_file(tmp_path / "in.mp4", moving_frames(3))
    with raises("maps-required", "labels"):
        render(source, tmp_path / "out.mp4", tmp_path)


def test_a_model_that_needs_real_frames_says_so_and_takes_them(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face", first_frame="real")
    source = write_file(tmp_path / "in.mp4", _faces(4))
    with raises("first-frames-required", "--first-frames"):
        render(source, tmp_path / "out.mp4", tmp_path)
    folder = tmp_path / "real"
    folder.mkdir()
    for t, frame in enumerate(_faces(2)):
        (folder / f"{t}.png").write_bytes(encode_png(frame))
    render(source, tmp_path / "out.mp4", tmp_path, first_frames=str(folder))
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 4


def test_first_frames_are_given_once_and_all(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    given, labels = tmp_path / "real", tmp_path / "labels"
    for folder in (given, labels):
        folder.mkdir()
        (folder / "0.png").write_bytes(encode_png(np.zeros((48, 64), np.uint8)))
    for settings, code, *names in (
        ({}, "frame-count-mismatch", "real", "1", "2"),
        ({"first_frame_model": str(tmp_path)}, "setting-conflict", "--first-frames", "--first-frame-model"),
    ):
        if settings:
            (given / "1.png").write_bytes((given / "0.png").read_bytes())
        with raises(code, *names):
            render(labels, tmp_path / "out.mp4", tmp_path, first_frames=str(given), **settings)
        assert not (tmp_path / "out.mp4").exists()


def test_given_frames_take_the_place_of_the_first_ones(tmp_path: Path) -> None:
    """As in training, where the past frames and their maps belong together."""
    info = save_untrained(tmp_path, "street", first_frame="real", frames={"crop": "center"})
    model, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    maps = np.random.default_rng(0).random((4, 13, 48, 64)).astype(np.float32)
    wide = np.zeros((72, 192, 3), np.uint8)
    cv2.circle(wide, (96, 36), 27, (255, 255, 255), -1)
    given = frame_images([wide, wide], info)
    assert given.shape == (2, 48, 64, 3)
    inside = given[0, ..., 0] > 128
    assert inside.any(0).sum() == inside.any(1).sum() == 36, "a disc stays round: the sides are cut, not squeezed"

    session = Session(model, first_frames=given)
    frames = [session.step(ConditionedFrame(s)) for s in maps]
    np.testing.assert_array_equal(frames[:2], given)
    history = history_from_images(torch.from_numpy(given).permute(0, 3, 1, 2)[None].float() / 127.5 - 1, 1)
    with torch.no_grad():
        third = model(torch.from_numpy(maps[:3]).flatten(0, 1)[None], history)[-1].x_fake[0]
    np.testing.assert_array_equal(frames[2], to_image(third))


def test_a_step_gives_the_frames_that_were_given_first(tmp_path: Path) -> None:
    """And `image` takes the very same steps."""
    save_untrained(tmp_path, "face")
    generator, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    sources = np.random.default_rng(0).random((4, 15, 48, 64), dtype=np.float32)
    given = np.random.default_rng(1).integers(0, 256, (2, 48, 64, 3)).astype(np.uint8)
    stepped, shown = Rollout(generator, given=list(given)), Rollout(generator, given=list(given))
    for t, s in enumerate(sources):
        image = to_image(stepped.step(s).x_fake[0])
        np.testing.assert_array_equal(image, shown.image(s))
        if t < 2:
            np.testing.assert_array_equal(image, given[t])


@pytest.mark.parametrize(("name", "code"), [("missing.mp4", "file-missing"), ("text.mp4", "video-damaged")])
def test_bad_sources_are_sentences_and_leave_no_file(tmp_path: Path, name: str, code: str) -> None:
    save_untrained(tmp_path, "face")
    if name == "text.mp4":
        (tmp_path / name).write_text("hello")
    with raises(code, name):
        render(tmp_path / name, tmp_path / "out.mp4", tmp_path)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_the_driving_video_is_never_replaced(tmp_path: Path, link: str | None) -> None:
    save_untrained(tmp_path, "face")
    source = write_file(tmp_path / "in.mp4", _faces(3))
    before, target = source.read_bytes(), source if link is None else tmp_path / "other.mp4"
    if link is not None:
        getattr(target, link)(source)
    for ours, theirs in ((source, target), (target, source)):
        with raises("target-is-source", str(ours)):
            render(ours, theirs, tmp_path, compare=True)
    assert source.read_bytes() == target.read_bytes() == before


def test_a_truncated_video_leaves_no_file(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    source = write_file(tmp_path / "in.mkv", _faces(30))
    data = source.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    with raises("frames-missing", "cut.mkv"):
        render(tmp_path / "cut.mkv", tmp_path / "out.mp4", tmp_path)
    assert not list(tmp_path.glob("*out*"))


def test_no_model(tmp_path: Path) -> None:
    with raises("model-missing", "v2v train"):
        render(tmp_path / "in.mp4", tmp_path / "out.mp4", tmp_path)


def test_a_model_that_does_not_fit_is_told_before_anything_is_written(tmp_path: Path) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")

    save_untrained(tmp_path, "face")
    source = write_file(tmp_path / "in.mp4", _faces(3))
    with before_forward(VideoGenerator, full), raises("memory-too-small", "cpu"):
        render(source, tmp_path / "out.mp4", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "in.mp4"]
