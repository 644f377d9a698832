"""`v2v train --method segmenter` on the frames with labels, and `v2v segment` with its checkpoint on all frames."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conditions import of_domain
from tests.errors import raises
from tests.stage_results import make
from tests.unit.ingesting import contents, ingest, manifest, write_images
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, read_manifest
from v2vkit.checkpoint.model_file import load_model, read_info
from v2vkit.config import make_config
from v2vkit.evaluation.prediction import mean_iou
from v2vkit.evaluation.segmentation import counted_in, no_confusion, plot, summary, summary_text
from v2vkit.inference.trained_segment import TrainedSegment
from v2vkit.models.segmenter import SegmenterConfig, build_segmenter
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.segment import STAGE as SEGMENT
from v2vkit.stages.segment import SegmentConfig
from v2vkit.stages.track import STAGE as TRACK
from v2vkit.stages.track import TrackConfig
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.labelled import split
from v2vkit.training.methods.segmenter import SEGMENTER, LabelledFrames, segmentation_loss
from v2vkit.training.parallel import ALONE
from v2vkit.training.resolve_segmenter import balanced_weights

COUNT = 12
COLOURS = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200)], np.uint8)
SETTINGS = {
    "method": "segmenter",
    "network": "lite0-fpn",
    "pretrained": False,
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
    "sample_every": 0,
    "tensorboard": False,
}


def scene(t: int) -> np.ndarray:
    """Three classes in bands that move: what a network can learn from colours."""
    ids = np.zeros((32, 48), np.uint8)
    ids[12 + t % 4 :] = 1
    ids[8:24, 2 * t : 2 * t + 12] = 2
    return ids


def workspace(folder: Path, *, labelled: range = range(0, COUNT, 2), **settings: object) -> Path:
    """Frames in the colours of their classes, some with label maps."""
    source = write_images(folder / "street", [COLOURS[scene(t)] for t in range(COUNT)])
    labels = folder / "labels"
    labels.mkdir()
    for t in labelled:
        Image.fromarray(scene(t)).save(labels / f"frame{t}.png")
    sparse = len(labelled) < COUNT
    work = folder / "work"
    ingest(work, source, labels=labels, classes="camvid", sparse_labels=sparse, cuts="none", lossless=True, **settings)
    return work


def train(work: Path, **settings: object):
    config = make_config(TrainConfig, {**SETTINGS, **settings}, "test")
    return run(STAGE, config, RunOptions(work=str(work), workers=1))


def test_from_some_labels_to_labels_of_all_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = workspace(tmp_path)
    train(work, epochs=30, learning_rate=2e-3, decay=0.3)
    assert "held out: pixel accuracy" in capsys.readouterr().out
    folder = work / "checkpoints/segmenter"
    found = json.loads((folder / "held-out.json").read_text())
    assert found["frames"] == 2  # of six labelled ones the last fifth, rounded up
    assert found["pixel_accuracy"] > 0.9
    assert set(found["iou"]) >= {"sky", "building", "pole"}
    assert (folder / "held-out.png").read_bytes()[:4] == b"\x89PNG"
    make(SEGMENT, SegmentConfig(weights=str(folder)), work, 1)
    maps = contents(work, "labels")
    agreement = [np.mean(ids == scene(t)) for t, ids in enumerate(maps.values())]
    assert len(agreement) == COUNT
    assert np.mean(agreement) > 0.9
    assert manifest(work, "labels")["config"]["classes"]["name"] == "camvid"
    assert CHECK.call(CheckConfig(), RunOptions(work=str(work))) == []
    config = make_config(TrainConfig, {**SETTINGS, "epochs": 30, "learning_rate": 2e-3, "decay": 0.3}, "test")
    assert status(STAGE, config, RunOptions(work=str(work))) == "done"  # labels of its own change nothing


def test_complete_labels_are_trained_on_where_there_are_no_sparse_ones(tmp_path: Path) -> None:
    work = workspace(tmp_path, labelled=range(COUNT))
    train(work, epochs=1, class_weight=("building=3", "2=0.5"), focal=2.0)
    stored = read_manifest(Folder(str(work)) / "checkpoints/segmenter")
    assert stored is not None
    assert stored.config["class_weight"] == ["1=3", "2=0.5"]
    assert stored.config["train_on"] == "labels"
    info = read_info(Folder(str(work)) / "checkpoints/segmenter")
    assert info.network == SegmenterConfig(network="lite0-fpn", num_classes=11)
    with raises("model-mismatch", "segmenter"):
        load_model(Folder(str(work)) / "checkpoints/segmenter")


def test_weights_can_be_balanced(tmp_path: Path) -> None:
    assert balanced_weights({0: 0.64, 1: 0.16, 2: 0.04}) == {0: 1.0, 1: 2.0, 2: 4.0}
    work = workspace(tmp_path)
    train(work, epochs=1, class_weight=("balanced",))
    stored = read_manifest(Folder(str(work)) / "checkpoints/segmenter")
    assert stored is not None
    weights = dict(text.split("=") for text in stored.config["class_weight"])
    assert weights.keys() == {"0", "1", "2"}
    assert min(map(float, weights.values())) == 1


@pytest.mark.parametrize(
    ("settings", "code", "named"),
    [
        ({"class_weight": ("cat=2",)}, "class-unknown", "cat"),
        ({"class_weight": ("car",)}, "setting-invalid", "--class-weight"),
        ({"class_weight": ("car=0",)}, "setting-invalid", "--class-weight"),
        ({"class_weight": ("99=2",)}, "label-id-out-of-range", "99"),
        ({"network": "deeplabv3-mobilenet", "pretrained": True}, "batch-too-small", "--batch-size"),
        ({"network": "deeplabv3-mobilenet"}, "setting-unused", "--no-pretrained"),
        ({"lambda_l1": 1.0}, "setting-unused", "--lambda-l1"),
        ({"condition": ("labels", "depth")}, "condition-unsupported", "depth"),
        ({"edges": False}, "setting-unused", "--no-edges"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_written(tmp_path, settings, code, named) -> None:
    work = workspace(tmp_path)
    with raises(code, named):
        train(work, epochs=1, **settings)
    assert not (work / "checkpoints").exists()


def test_deeplab_needs_two_frames_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(TrainConfig, {**SETTINGS, "network": "deeplabv3-mobilenet", "batch_size": 2}, "test")
    SEGMENTER.check(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with raises("batch-too-small", "--batch-size 8"):
        SEGMENTER.check(config)


def test_other_methods_refuse_a_segmenters_settings(tmp_path: Path) -> None:
    work = workspace(tmp_path, labelled=range(COUNT))
    with raises("setting-unused", "--focal", "vid2vid"):
        train(work, method="vid2vid", network="auto", pretrained=True, focal=2.0)


def test_videos_are_not_trained_on_sparse_labels(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    with raises("artifact-missing", "labels"):
        train(work, method="pix2pixhd", network="auto", pretrained=True, domain="street")


def test_deeplab_trains_with_several_frames_in_a_batch(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    train(work, epochs=1, network="deeplabv3-mobilenet", pretrained=True, batch_size=2, held_out=0.0)
    segment = TrainedSegment(weights=work / "checkpoints/segmenter/model.safetensors")
    assert segment(COLOURS[scene(0)]).labels.shape == (32, 48)
    assert segment.classes[8] == "car"


def test_a_file_that_is_no_segmenter_is_refused(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with raises("model-damaged", "model.safetensors"):
        make(SEGMENT, SegmentConfig(weights=str(tmp_path)), work, 1)
    assert not (work / "labels").exists()


def test_frames_of_a_step_are_those_of_all_processes() -> None:
    config = make_config(
        TrainConfig, {**SETTINGS, "network": "lite0-fpn", "pretrained": False, "batch_size": 4}, "test"
    )
    method = SEGMENTER.build(config, of_domain("street", 3), torch.device("meta"), ALONE)
    share = LabelledFrames(torch.zeros(2, 3, 32, 32), torch.zeros(2, 32, 32, dtype=torch.long))
    assert method.num_frames(share) == 4


def test_deeplabs_weights_are_taken_with_another_number_of_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = build_segmenter(SegmenterConfig(network="deeplabv3-mobilenet", num_classes=21))
    torch.save(before.network.state_dict(), tmp_path / "coco.pth")
    after = build_segmenter(SegmenterConfig(network="deeplabv3-mobilenet", num_classes=4), tmp_path / "coco.pth")
    one, other = before.network.state_dict(), after.network.state_dict()
    assert other["classifier.4.weight"].shape[0] == 4
    assert all(torch.equal(one[key], other[key]) for key in one if not key.startswith("classifier.4."))
    with raises("weights-mismatch", "deeplabv3-resnet50"):
        build_segmenter(SegmenterConfig(network="deeplabv3-resnet50", num_classes=4), tmp_path / "coco.pth")


def test_the_loss_is_cross_entropy_of_labelled_pixels_weighted_and_focused() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0]]).reshape(1, 2, 1, 2).requires_grad_()  # two classes, two pixels
    labels = torch.tensor([0, 1]).reshape(1, 1, 2)
    p = torch.softmax(logits.detach(), 1)[0, :, 0]
    first, second = -torch.log(p[0, 0]), -torch.log(p[1, 1])
    assert float(segmentation_loss(logits, labels).detach()) == pytest.approx(float(first + second) / 2)
    weight = torch.tensor([3.0, 1.0])
    weighted = float(3 * first + second) / 4
    assert float(segmentation_loss(logits, labels, weight=weight).detach()) == pytest.approx(weighted, rel=1e-5)
    focused = float((1 - p[0, 0]) ** 2 * first + (1 - p[1, 1]) ** 2 * second) / 2
    assert float(segmentation_loss(logits, labels, focal=2.0).detach()) == pytest.approx(focused, rel=1e-5)
    one = segmentation_loss(logits, torch.tensor([0, 255]).reshape(1, 1, 2))
    assert float(one.detach()) == pytest.approx(float(first))
    nothing = segmentation_loss(logits, torch.full((1, 1, 2), 255))
    nothing.backward()
    assert float(nothing.detach()) == 0


@pytest.mark.parametrize("label", [0, 255])
def test_a_fraction_as_gamma_has_a_gradient_where_the_network_is_certain_and_where_nothing_is_labelled(
    label: int,
) -> None:
    logits = torch.tensor([40.0, -40.0, 0.0, 0.0]).reshape(1, 2, 2, 1).requires_grad_()
    segmentation_loss(logits, torch.tensor([label, 0]).reshape(1, 2, 1), focal=0.5).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[0, :, 1] != 0).all()


def test_the_last_frames_of_every_shot_are_held_out() -> None:
    frames = [ClipInfo(name=f"f{i}", num_frames=1, width=8, height=8) for i in range(7)]
    kept, apart = split([frames[:5], frames[5:6], frames[6:]], 0.4)
    assert [of.name for of in kept] == ["f0", "f1", "f2", "f5", "f6"]
    assert [of.name for of in apart] == ["f3", "f4"]


def test_measures_are_what_can_be_counted_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    said = np.array([[0, 1, 1, 255, 0]], np.uint8)
    found = counted_in(no_confusion(3), truth, said)
    assert found.accuracy == 0.5
    assert found.iou[:2].tolist() == [0.5, 1 / 3]
    assert np.isnan(found.iou[2])
    assert found.mean_iou == pytest.approx(5 / 12)
    names = ("sky", "road", "car")
    told = summary(found, names)
    assert told["iou"] == {"sky": 0.5, "road": 0.3333, "car": None}
    assert told["confusion"] == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert "car" not in summary_text(found, names)
    assert plot(found, names, "test")[:4] == b"\x89PNG"
    # A class that is said and never true counts, as a miss; so it does for predicted maps.
    wrong = counted_in(no_confusion(3), truth, np.array([[0, 0, 1, 2, 0]], np.uint8))
    assert wrong.iou.tolist() == [1, 0.5, 0]
    assert wrong.mean_iou == mean_iou(wrong.pixels) == 0.5


def test_classes_are_kept_by_name(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    train(work, epochs=1, held_out=0.0)
    folder = str(work / "checkpoints/segmenter")
    make(SEGMENT, SegmentConfig(weights=folder, keep=("building", "sky")), work, 1)
    config = manifest(work, "labels")["config"]
    assert config["keep"] == [1, 0]
    named = {of["id"]: of["name"] for of in config["classes"]["classes"]}
    assert named == {0: "building", 1: "sky"}
    with raises("class-unknown", "cat", "building"):
        make(SEGMENT, SegmentConfig(weights=folder, keep=("cat",)), tmp_path / "other", 1)


def test_foreground_takes_names_of_the_class_table(tmp_path: Path) -> None:
    source = write_images(tmp_path / "street", [COLOURS[scene(t)] for t in range(COUNT)])
    named = write_images(tmp_path / "labels", [scene(t) for t in range(COUNT)])
    work = tmp_path / "work"
    ingest(work, source, labels=named, classes="camvid", cuts="none")
    resolve = STAGE.resolve
    assert resolve is not None
    config = TrainConfig(domain="street", foreground=("pole", "1"))
    assert resolve(config, Folder(str(work))).model.foreground == (2, 1)
    with raises("class-unknown", "cat"):
        resolve(TrainConfig(domain="street", foreground=("cat",)), Folder(str(work)))
    ingest(tmp_path / "plain", source, labels=named, cuts="none")
    with raises("class-table-required", "car"):
        resolve(TrainConfig(domain="street", foreground=("car",)), Folder(str(tmp_path / "plain")))


def test_track_takes_names_and_by_default_the_things_of_the_class_table(tmp_path: Path) -> None:
    work = workspace(tmp_path, labelled=range(COUNT))
    resolve = TRACK.resolve
    assert resolve is not None
    assert resolve(TrackConfig(), Folder(str(work))).thing_ids == (8, 9, 10)
    assert resolve(TrackConfig(things=("road", "1")), Folder(str(work))).thing_ids == (1, 3)
    with raises("class-unknown", "cat"):
        resolve(TrackConfig(things=("cat",)), Folder(str(work)))
