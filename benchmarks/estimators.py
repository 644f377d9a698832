"""Every estimator's stage against the bare loop of its library, on the same frames in one process.

`make_sketches` (mediapipe) and `extract_flow` (DIS) have files of their own. The bare loop runs the library over frames
that lie decoded in memory, as its documentation shows it; the stage also reads, decodes, smooths, draws, encodes and
writes. Opening the estimator is not counted on either side. Networks have random weights, which take the same time.
Processor time is compared too, because mediapipe uses several threads, and the clock depends on other programs. The
commands `track` and `make-edges` use no library's estimator.
"""

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
import torch.nn.functional as F
from torchvision.models import detection, segmentation

from benchmarks.footage import REAL, Frames, resized, talking, write_frames
from benchmarks.make_sketches import without_logs
from v2vkit.config import StageConfig
from v2vkit.pipeline.runner import run as run_stage
from v2vkit.pipeline.stage import PerClip, RunOptions, Stage
from v2vkit.stages import estimate_pose, extract_flow, make_sketches, segment
from v2vkit.video.decode import decode

Row = tuple[str, float, str]
Bare = Callable[[Frames], object]
TURNS = 3
SIDE = 256
TARGET = ">= 0.85"


@dataclass(frozen=True)
class Case:
    """A stage and the loop that it is compared with.

    Attributes:
        name: of both.
        stage, config: of v2vkit; the config names the weights.
        bare: opens the library; gives the loop.
        frames: number of frames.
        clips: into which they are divided; flow is computed within one.
        people: frames of a dancing person instead of a talking face.
    """

    name: str
    stage: Stage
    config: StageConfig
    bare: Callable[[], contextlib.AbstractContextManager[Bare]]
    frames: int
    people: bool = False
    clips: int = 2


def _dancing(num_frames: int) -> Frames:
    """A person from head to foot, 288x512; the talking person where the real clip is absent."""
    clip = REAL / "pose" / "dance_a.mp4"
    return [frame.image for frame in decode(clip, 0, num_frames)] if clip.is_file() else talking(512, num_frames)


@contextlib.contextmanager
def _mediapipe_pose() -> Iterator[Bare]:
    import mediapipe

    with mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1) as pose:
        yield lambda frames: [pose.process(frame) for frame in frames]


@contextlib.contextmanager
def _mediapipe_holistic() -> Iterator[Bare]:
    import mediapipe

    with mediapipe.solutions.holistic.Holistic(static_image_mode=True, refine_face_landmarks=True) as holistic:
        yield lambda frames: [holistic.process(frame) for frame in frames]


@contextlib.contextmanager
def _dlib(weights: Path) -> Iterator[Bare]:
    import dlib

    detect, predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(weights))
    yield lambda frames: [predict(frame, box) for frame in frames for box in detect(frame, 0)]


@contextlib.contextmanager
def _lraspp(network: torch.nn.Module) -> Iterator[Bare]:
    mean, deviation = (torch.tensor(of)[:, None, None] for of in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def loop(frames: Frames) -> list[Any]:
        found = []
        for frame in frames:
            x = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
            x = F.interpolate(x, (520, 520), mode="bilinear", antialias=True)
            logits = network((x - mean) / deviation)["out"]
            found.append(F.interpolate(logits, frame.shape[:2], mode="bilinear")[0].argmax(0).byte().numpy())
        return found

    with torch.inference_mode():
        yield loop


@contextlib.contextmanager
def _maskrcnn(network: torch.nn.Module) -> Iterator[Bare]:
    with torch.inference_mode():
        yield lambda frames: [network([torch.from_numpy(frame).permute(2, 0, 1).float() / 255]) for frame in frames]


@contextlib.contextmanager
def _yolo(weights: Path) -> Iterator[Bare]:
    from v2vkit.estimators.ultralytics_models import safe_ultralytics

    with safe_ultralytics() as ultralytics:
        model = ultralytics.YOLO(str(weights))
        settings = {"imgsz": 640, "retina_masks": True, "save": False, "verbose": False}
        yield lambda frames: [model.predict(frame[..., ::-1], **settings) for frame in frames]


@contextlib.contextmanager
def _ptlflow(name: str) -> Iterator[Bare]:
    import ptlflow

    model = ptlflow.get_model(name).eval()

    def loop(frames: Frames) -> None:
        x = [torch.from_numpy(frame).permute(2, 0, 1).float() / 255 for frame in frames]
        for current, previous in zip(x[1:], x[:-1], strict=True):
            for pair in ((current, previous), (previous, current)):
                model({"images": torch.stack(pair)[None]})["flows"].numpy()

    with torch.inference_mode():
        yield loop


def _save_yolo(path: Path, task: str) -> Path:
    """A random YOLO network that finds nothing much, as ultralytics saves one."""
    from v2vkit.estimators.ultralytics_models import safe_ultralytics

    with safe_ultralytics() as ultralytics:
        model = ultralytics.YOLO(f"yolo11n-{'seg' if task == 'segment' else task}.yaml").model
    torch.save({"model": model, "train_args": {"imgsz": 640, "task": task}}, path)
    return path


def _saved(path: Path, state: dict[str, Any]) -> str:
    torch.save(state, path)
    return str(path)


def _cases(folder: Path) -> Iterator[Case]:
    pose, maps = estimate_pose.PoseConfig, segment.SegmentConfig
    yield Case("estimate-pose, mediapipe", estimate_pose.STAGE, pose(), _mediapipe_pose, 40, people=True)
    holistic = pose(hands=True, face=True)
    yield Case(
        "estimate-pose --hands --face, mediapipe", estimate_pose.STAGE, holistic, _mediapipe_holistic, 24, people=True
    )
    faces = REAL / "face" / "landmarks68_dlib" / "training_with_face_landmarks.xml"
    if faces.is_file():
        import dlib

        options, path = dlib.shape_predictor_training_options(), folder / "dlib.dat"
        options.cascade_depth, options.num_threads = 10, 1
        dlib.train_shape_predictor(str(faces), str(path), options)
        sketches = make_sketches.SketchConfig(face="dlib", weights=str(path))
        yield Case("make-sketches, dlib", make_sketches.STAGE, sketches, partial(_dlib, path), 40)
    network: Any = segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21).eval()
    config = maps(weights=_saved(folder / "lraspp.pth", network.state_dict()))
    yield Case("segment, torchvision (LR-ASPP)", segment.STAGE, config, partial(_lraspp, network), 24)
    sides = {"min_size": 256, "max_size": 1024, "box_score_thresh": 0.5}
    network = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91, **sides).eval()
    config = maps(segment="maskrcnn", input_side=256, weights=_saved(folder / "maskrcnn.pth", network.state_dict()))
    yield Case("segment, maskrcnn (256 pixels)", segment.STAGE, config, partial(_maskrcnn, network), 8)
    path = _save_yolo(folder / "segment.pt", "segment")
    config = maps(segment="yolo", weights=str(path))
    yield Case("segment, yolo (YOLO11n)", segment.STAGE, config, partial(_yolo, path), 24)
    path = _save_yolo(folder / "pose.pt", "pose")
    yield Case(
        "estimate-pose, yolo (YOLO11n)",
        estimate_pose.STAGE,
        pose(pose="yolo", weights=str(path)),
        partial(_yolo, path),
        24,
        people=True,
    )
    import ptlflow

    state = {"state_dict": ptlflow.get_model("raft_small").state_dict()}
    flow = extract_flow.FlowConfig(
        flow="ptlflow", model="raft_small", strides=(1,), weights=_saved(folder / "raft.ckpt", state)
    )
    raft = partial(_ptlflow, "raft_small")
    yield Case("extract-flow, ptlflow (raft_small)", extract_flow.STAGE, flow, raft, 3, clips=1)


def _opened(stage: Stage, config: Any, work: str) -> tuple[Stage, StageConfig]:
    """The stage with its estimator opened, and its settings filled in."""
    from v2vkit.artifacts.folder import Folder

    assert isinstance(stage.make, PerClip)
    if stage.resolve is not None:
        config = stage.resolve(config, Folder(work))
    opened = stage.make.open(config)
    return replace(stage, make=replace(stage.make, open=lambda _: opened), resolve=None, sources=None), config


def _used(function: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def ratios(case: Case) -> tuple[float, float]:
    """Bare loop / stage: by the clock, and by processor time; medians of runs in turns."""
    frames = _dancing(case.frames) if case.people else resized(talking(512, case.frames), SIDE, SIDE)
    bare, stage = [], []
    with tempfile.TemporaryDirectory() as work, without_logs():
        write_frames(work, frames, clip_length=case.frames // case.clips)
        opened, config = _opened(case.stage, case.config, work)
        made = Path(work) / case.stage.output(config)
        options = RunOptions(work=work, workers=1)
        with case.bare() as loop:
            loop(frames[:2])
            for _ in range(TURNS):
                bare.append(_used(partial(loop, frames)))
                stage.append(_used(partial(run_stage, opened, config, options)))
                shutil.rmtree(made)
    clock, processor = (
        statistics.median(used[kind] for used in bare) / statistics.median(used[kind] for used in stage)
        for kind in (0, 1)
    )
    return clock, processor


def run() -> list[Row]:
    """(what, value, target) per row."""
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for case in _cases(Path(folder)):
                clock, processor = ratios(case)
                rows.append((f"{case.name} / bare loop", clock, TARGET))
                rows.append((f"{case.name} / bare loop, processor time", processor, "for information"))
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])
    return rows


if __name__ == "__main__":
    for row in run():
        print(row, flush=True)
