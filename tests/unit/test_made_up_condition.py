"""A condition in one file (this one) with one row, taken the whole way: nothing else knows of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from tests import whole_way
from tests.conditions import set_estimators, use_estimator
from tests.errors import raises
from tests.flow_scenes import write_frames
from tests.stage_results import make
from tests.unit.ingesting import ingest
from tests.unit.rendering import conditioned
from tests.unit.training_data import make_workspace
from tests.unit.video_files import read_raw
from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_gray, decode_image, encode_png
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.checkpoint.model_file import load_model
from v2vkit.conditions import domains, registry
from v2vkit.conditions.augment import Change, warp_id_map
from v2vkit.conditions.base import Bytes, Condition, F, Size, Use
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning, to_unit
from v2vkit.conditions.domains import Domain
from v2vkit.conditions.labels import LabelMap, LabelsCondition
from v2vkit.conditions.layers import OpenLayer, gray_layer
from v2vkit.config import StageConfig, setting
from v2vkit.estimators import registry as estimators
from v2vkit.estimators.registry import Row, estimators_of, open_estimators
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import Opened, PerClip, RunOptions, Stage
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.render import COMMAND as RENDER
from v2vkit.stages.render import RenderConfig
from v2vkit.stages.run_estimator import annotate_clip
from v2vkit.stages.show import COMMAND as SHOW
from v2vkit.stages.show import ShowConfig
from v2vkit.stages.train import STAGE as TRAIN


class Meter:
    """An estimator of a task of its own: how bright every pixel is."""

    name, version = "meter", "1"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image.max(2)


@dataclass(frozen=True, eq=False)
class Brightness:
    levels: Bytes

    @property
    def size(self) -> Size:
        return self.levels.shape[1], self.levels.shape[0]

    @property
    def found(self) -> bool:
        return bool(self.levels.any())


class BrightnessCondition(Condition[Brightness]):
    """One channel: how bright a pixel is, in a number of steps."""

    artifact: ClassVar[str] = "brightness"
    required: ClassVar[tuple[str, ...]] = ("levels.png",)
    reads: ClassVar[Mapping[Use, tuple[str, ...]]] = dict.fromkeys(("channels", "augment"), ("levels.png",))
    layers: ClassVar[Mapping[str, OpenLayer]] = {"levels.png": gray_layer}
    task: ClassVar[str | None] = "brightness"
    estimator_stage: ClassVar[str | None] = "measure-brightness"
    nothing: ClassVar[str] = "no light"

    name: Literal["brightness"] = "brightness"
    steps: int = 256

    @property
    def num_channels(self) -> int:
        return 1

    def postprocess(
        self, frame_results: Iterable[tuple[F, Bytes]], settings: Mapping[str, Any], *, size: Size
    ) -> Iterator[tuple[F, Brightness]]:
        return ((frame, Brightness(levels)) for frame, levels in frame_results)

    @classmethod
    def encode(cls, annotation: Brightness, *, estimator: str) -> dict[str, bytes]:
        return {"levels.png": encode_png(annotation.levels)}

    @classmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> Brightness:
        return Brightness(decode_gray(files["levels.png"], "a map of brightness").astype(np.uint8))

    def channels(self, annotation: Brightness, image: Image | None = None) -> Bytes:
        width = 256 // self.steps
        return (annotation.levels // width * width)[None]

    def augment(self, annotation: Brightness, change: Change) -> Brightness:
        return Brightness(warp_id_map(annotation.levels, change.move))

    def preview(self, channels: np.ndarray) -> Image:
        return np.repeat(np.rint(channels[0] * 255).astype(np.uint8)[..., None], 3, 2)


class MeasureConfig(StageConfig):
    """Measure brightness."""

    brightness: str = setting("meter", "Estimator.", choices=estimators_of("brightness"))
    steps: int = setting(4, "Steps.", ge=2, le=256)


def _open(config: MeasureConfig) -> Opened:
    opened = open_estimators("brightness", config.brightness)
    condition = BrightnessCondition(steps=config.steps)
    settings = dict(config)
    function = partial(annotate_clip, condition=condition, estimators=opened, settings=settings, estimator="meter 1")
    return Opened(function, {"name": "meter", "version": "1"})


MEASURE = Stage(
    name="measure-brightness",
    config=MeasureConfig,
    version=1,
    output=lambda config: "brightness",
    make=PerClip(_open),
    inputs=lambda config: ("frames",),
)
PLAIN = whole_way.PLAIN.model_copy(update={"domain": "lights"})


@pytest.fixture(autouse=True)
def _one_row_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.CONDITIONS, "brightness", f"{__name__}:BrightnessCondition")
    monkeypatch.setitem(domains.DOMAINS, "lights", Domain(("brightness",), "lights", "street"))
    row = Row("brightness", "meter", f"{__name__}:Meter")
    set_estimators(monkeypatch, [*estimators.ESTIMATORS, row])


def _frames(count: int = 8) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.zeros((24, 32, 3), np.uint8), *(rng.integers(0, 256, (24, 32, 3), np.uint8) for _ in range(count - 1))]


def _pictures(folder: Path, frames: list[np.ndarray]) -> Path:
    folder.mkdir()
    for t, frame in enumerate(frames):
        (folder / f"{t:03d}.png").write_bytes(encode_png(frame))
    return folder


def test_a_made_up_condition_goes_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, frames = RunOptions(work=str(tmp_path), workers=1), _frames()
    source = _pictures(tmp_path / "pictures", frames)
    ingest(tmp_path, source, lossless=True, cuts="none")
    manifest = make(MEASURE, MeasureConfig(), tmp_path)
    (clip,) = manifest.clips
    assert manifest.missing == {"no light": 1}
    assert CHECK.call(CheckConfig(), options) == []
    assert "brightness: 8 frames in 1 clip" in capsys.readouterr().out

    sheet = tmp_path / "sheet.png"
    assert SHOW.call(ShowConfig(artifact="brightness", out=str(sheet)), options) == []
    assert decode_image(sheet.read_bytes()).std() > 1

    run(TRAIN, PLAIN, options)
    plan = capsys.readouterr().out
    assert "brightness" in plan
    _, info = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    assert info.conditioning == Conditioning.of(BrightnessCondition(steps=4)), "as its stage was set"
    assert (info.origins[0].stage, info.origins[0].estimator["name"]) == ("measure-brightness", "meter")

    reader = ClipReader(Folder(str(tmp_path)), {"brightness": manifest})
    streamed = list(conditioned(source, info, cuts="none"))
    assert len(streamed) == len(frames)
    for t, frame in enumerate(streamed):
        np.testing.assert_array_equal(frame.frame.image, frames[t])
        np.testing.assert_array_equal(frame.s, to_unit(reader.channels(info.conditioning, clip.name, t)))
        assert len(np.unique(frame.s)) == (4 if t else 1)

    target = tmp_path / "out.mp4"
    rendered = RenderConfig(source=str(source), target=str(target), cuts="none", device="cpu", threads=1, compare=True)
    assert RENDER.call(rendered, options) == [f"no light: 1 frame of {source}"]
    assert len(read_raw(target)[0]) == len(frames)
    assert EVALUATE.call(EvaluateConfig(data=str(tmp_path), device="cpu", threads=1), options) == []
    assert (tmp_path / "evaluation/spatial-1/contact.png").exists()


def test_it_stands_beside_others_in_a_list(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": _frames()})
    manifest = make(MEASURE, MeasureConfig(), tmp_path)
    both = Conditioning.of(LabelsCondition(num_labels=3), BrightnessCondition(steps=2))
    assert Conditioning.model_validate_json(both.model_dump_json()) == both
    assert both.names == "labels+brightness"
    reader = ClipReader(Folder(str(tmp_path)), {"brightness": manifest})
    labels = LabelMap(np.full((24, 32), 1, np.uint8))
    brightness = reader.annotation(both.conditions[1], "a", 3, "channels")
    channels = both.channels((labels, brightness))
    assert channels.shape == (5, 24, 32)
    assert set(np.unique(channels[4])) == {0, 128}


def test_two_conditions_are_trained_on_and_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both look at the same frames; the one that looks ahead does not keep the other from them."""
    from tests.unit.test_training_pose import FakePose
    from v2vkit.stages.estimate_pose import STAGE as POSES
    from v2vkit.stages.estimate_pose import PoseConfig

    use_estimator(monkeypatch, "pose", "mediapipe", f"{FakePose.__module__}:FakePose")
    monkeypatch.setitem(domains.DOMAINS, "lights", Domain(("pose", "brightness"), "lights", "street"))
    options, frames = RunOptions(work=str(tmp_path), workers=1), _frames()
    write_frames(tmp_path, {"a": frames})
    make(MEASURE, MeasureConfig(), tmp_path)
    make(POSES, PoseConfig(smooth=3, min_score=0.0), tmp_path)
    run(TRAIN, PLAIN, options)
    generator, info = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    assert info.conditioning.names == "pose+brightness"
    assert generator.config.source_channels == 4
    manifests = {kind: read_manifest(Folder(f"{tmp_path}/{kind}")) for kind in ("poses", "brightness")}
    reader = ClipReader(Folder(str(tmp_path)), {kind: of for kind, of in manifests.items() if of is not None})
    source = _pictures(tmp_path / "pictures", frames)
    for t, frame in enumerate(conditioned(source, info, cuts="none")):
        np.testing.assert_array_equal(frame.s, to_unit(reader.channels(info.conditioning, "a", t)))
    for driver, maps in ((source, False), (tmp_path, True)):
        config = RenderConfig(source=str(driver), target=str(tmp_path / "out.mp4"), maps=maps, device="cpu", threads=1)
        RENDER.call(config, options)
        assert len(read_raw(tmp_path / "out.mp4")[0]) == len(frames)


def test_a_list_may_be_mirrored_only_where_all_of_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(domains.DOMAINS, "lights", Domain(("labels", "brightness"), "lights", "street"))
    options = make_workspace(tmp_path, num_clips=1, clip_frames=4)
    make(MEASURE, MeasureConfig(), tmp_path)
    config = PLAIN.model_copy(update={"num_labels": 12, "flip": True})
    with raises("setting-conflict", "--flip", "labels+brightness"):
        run(TRAIN, config, options)
    assert not (tmp_path / "checkpoints/spatial-1/model.safetensors").exists()
    run(TRAIN, config.model_copy(update={"flip": False}), options)
    _, info = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    assert (info.conditioning.names, info.conditioning.num_channels) == ("labels+brightness", 14)
    assert [origin.stage for origin in info.origins] == ["fake-source", "measure-brightness"]
