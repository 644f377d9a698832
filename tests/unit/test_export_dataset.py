"""`v2v export-dataset`: rendered frames with the labels that they were rendered from, read back as others read them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conditions import use_estimator
from tests.errors import raises
from tests.unit.ingesting import write_images
from v2vkit.config import make_config
from v2vkit.estimators.base import Segments
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.export_dataset import COMMAND, SCORES, ExportConfig
from v2vkit.video.dataset_objects import find_objects, run_lengths
from v2vkit.video.pictures import PictureWriter

CAR, PERSON, ROAD = 2, 3, 1
COUNT, WIDTH, HEIGHT = 3, 40, 30
TABLE = """
name = "small"
classes = [
  {id = 0, name = "sky"}, {id = 1, name = "road"},
  {id = 2, name = "car", thing = true}, {id = 3, name = "person", thing = true},
]
"""


def maps_at(t: int) -> tuple[np.ndarray, np.ndarray]:
    """Road with two cars that touch, and a person; the instance of the person has an ignored pixel in it."""
    labels, instances = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[15:] = ROAD
    labels[10:20, 5 + t : 15 + t] = CAR
    instances[10:20, 5 + t : 10 + t], instances[10:20, 10 + t : 15 + t] = 2000, 2001
    labels[12:25, 30:33], instances[12:25, 30:33] = PERSON, 3007
    labels[12, 30] = 255
    return labels, instances


def write_all(tmp_path: Path, names=("a_000000_000007", "a_000000_000008", "b_000001_000009"), clip: str = ""):
    """Folders of rendered frames, labels and instances."""
    folders = tuple(tmp_path / kind / clip for kind in ("rendered", "labels", "instances"))
    for folder in folders:
        folder.mkdir(parents=True)
    for t, name in enumerate(names):
        labels, instances = maps_at(t)
        image = np.dstack([60 * (labels % 4)] * 3) + np.uint8(t)
        for folder, array in zip(folders, (image, labels, instances), strict=True):
            Image.fromarray(array).save(folder / f"{name}.png")
    (tmp_path / "small.toml").write_text(TABLE)
    return tuple(tmp_path / kind for kind in ("rendered", "labels", "instances"))


def export(tmp_path: Path, kind: str, *, overwrite: bool = False, out: str = "out", **settings) -> Path:
    given = {
        "rendered": str(tmp_path / "rendered"),
        "out": str(tmp_path / out),
        "format": kind,
        "labels": str(tmp_path / "labels"),
        "instances": str(tmp_path / "instances"),
        "classes": str(tmp_path / "small.toml"),
        **{name: str(value) if isinstance(value, Path) else value for name, value in settings.items()},
    }
    given = {name: value for name, value in given.items() if value is not None}
    COMMAND.call(make_config(ExportConfig, given, "test"), RunOptions(overwrite=overwrite))
    return tmp_path / out


def test_cityscapes_is_read_by_torchvision_with_maps_byte_equal(tmp_path):
    from torchvision.datasets import Cityscapes

    rendered, labels, instances = write_all(tmp_path)
    out = export(tmp_path, "cityscapes", split="val")
    data = Cityscapes(str(out), split="val", mode="fine", target_type=["semantic", "instance"])
    assert len(data) == COUNT
    for (image, (semantic, instance)), written in zip(data, data.images, strict=True):
        path = rendered / Path(written).name.replace("_leftImg8bit", "")
        t = int(path.stem[-1]) - 7
        assert np.array_equal(np.array(image), np.array(Image.open(path)))
        assert np.array_equal(np.array(semantic), maps_at(t)[0])
        assert np.array_equal(np.array(instance), maps_at(t)[1])
    place = "gtFine/val/a/a_000000_000007_gtFine_{}.png"
    assert (out / place.format("labelIds")).read_bytes() == (labels / "a_000000_000007.png").read_bytes()
    assert (out / place.format("instanceIds")).read_bytes() == (instances / "a_000000_000007.png").read_bytes()


def test_cityscapes_names_of_other_files_hold_clip_and_frame(tmp_path):
    write_all(tmp_path, names=("000000", "000001"), clip="toy-000")
    write_all(tmp_path, names=("000000", "000001"), clip="toy_001")
    out = export(tmp_path, "cityscapes")
    names = sorted(path.name for path in (out / "leftImg8bit").rglob("*.png"))
    assert names == [f"toy-00{clip}_000000_00000{t}_leftImg8bit.png" for clip in (0, 1) for t in (0, 1)]


def test_coco_is_read_by_pycocotools_with_exact_masks_and_boxes(tmp_path):
    coco_api = pytest.importorskip("pycocotools.coco")
    rendered, labels, _ = write_all(tmp_path)
    out = export(tmp_path, "coco")
    with contextlib.redirect_stdout(None):
        coco = coco_api.COCO(str(out / "annotations" / "instances_train.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["car", "person"]
    for number in coco.getImgIds():
        (image,) = coco.loadImgs(number)
        t = int(Path(image["file_name"]).stem[-1]) - 7
        assert (out / "images" / image["file_name"]).read_bytes() == (rendered / image["file_name"]).read_bytes()
        found = {one["instance_id"]: one for one in coco.loadAnns(coco.getAnnIds(imgIds=number))}
        assert sorted(found) == [2000, 2001, 3007]
        for instance, one in found.items():
            mask = maps_at(t)[1] == instance
            assert np.array_equal(coco.annToMask(one).astype(bool), mask)
            rows, columns = np.nonzero(mask)
            left, top, width, height = one["bbox"]
            assert (left, top, left + width - 1, top + height - 1) == (
                *(columns.min(), rows.min()),
                *(columns.max(), rows.max()),
            )
            assert (one["area"], one["category_id"]) == (mask.sum(), instance // 1000)
        name = Path(image["file_name"]).name
        assert (out / "maps" / "labels" / name).read_bytes() == (labels / name).read_bytes()


def yolo_boxes(text: str) -> Iterator[tuple[int, float, float, float, float]]:
    """Ultralytics' format: class, then centre, width and height as shares of the picture."""
    for line in text.splitlines():
        number, x, y, width, height = line.split()
        yield int(number), *((float(x) * WIDTH, float(y) * HEIGHT, float(width) * WIDTH, float(height) * HEIGHT))


def test_yolo_boxes_are_centres_and_sizes_as_shares(tmp_path):
    yaml = pytest.importorskip("yaml")
    write_all(tmp_path)
    out = export(tmp_path, "yolo")
    about = yaml.safe_load((out / "data.yaml").read_text())
    assert about == {"train": "images/train", "val": "images/train", "names": {0: "car", 1: "person"}}
    images, texts = sorted((out / "images" / "train").iterdir()), sorted((out / "labels" / "train").iterdir())
    assert [path.stem for path in images] == [path.stem for path in texts]
    boxes = list(yolo_boxes(texts[1].read_text()))
    assert np.allclose(boxes, [(0, 8.5, 15, 5, 10), (0, 13.5, 15, 5, 10), (1, 31.5, 18.5, 3, 13)], atol=1e-4)


def test_without_instances_connected_areas_are_objects():
    labels, _ = maps_at(0)
    labels[0:2, 0:2] = CAR
    found = find_objects(labels, None, (CAR, PERSON))
    assert [(of.label, of.box) for of in found] == [
        (CAR, (0, 0, 2, 2)),
        (CAR, (5, 10, 10, 10)),
        (PERSON, (30, 12, 3, 13)),
    ]
    assert [of.label for of in find_objects(labels, None, (CAR, PERSON), min_pixels=5)] == [CAR, PERSON]


@pytest.mark.parametrize("first", [0, 1])
def test_run_lengths_begin_with_zeros_in_column_order(first):
    mask = np.array([[first, 0], [1, 1]], bool)
    assert run_lengths(mask) == ([0, 2, 1, 1] if first else [1, 1, 1, 1])


def test_maps_of_another_size_are_resized_and_of_another_shape_refused(tmp_path, capsys):
    write_all(tmp_path)
    for path in (tmp_path / "rendered").iterdir():
        Image.open(path).resize((WIDTH // 2, HEIGHT // 2)).save(path)
    out = export(tmp_path, "coco")
    assert "resized" in capsys.readouterr().out
    small = np.array(Image.open(out / "maps" / "labels" / "a_000000_000007.png"))
    assert np.array_equal(small, maps_at(0)[0][1::2, 1::2])
    for path in (tmp_path / "rendered").iterdir():
        Image.open(path).resize((WIDTH, WIDTH)).save(path)
    with raises("aspect-mismatch", "40x40", "40x30"):
        export(tmp_path, "coco", out="other")
    assert not (tmp_path / "other").exists()


def test_colour_maps_become_ids(tmp_path):
    write_all(tmp_path)
    table = TABLE.replace('"sky"', '"sky", colour = [0, 0, 0]').replace('"road"', '"road", colour = [9, 9, 9]')
    table = table.replace('"car"', '"car", colour = [0, 0, 255]').replace('"person"', '"person", colour = [255, 0, 0]')
    (tmp_path / "small.toml").write_text(table)
    colours = np.array([(0, 0, 0), (9, 9, 9), (0, 0, 255), (255, 0, 0)], np.uint8)
    for path in (tmp_path / "labels").iterdir():
        ids = np.array(Image.open(path)) % 4
        Image.fromarray(colours[ids]).save(path)
    out = export(tmp_path, "coco")
    ids = np.array(Image.open(out / "maps" / "labels" / "a_000000_000007.png"))
    assert np.array_equal(ids, maps_at(0)[0] % 4)


class KnowsAllButTheSecond:
    """Finds the labels of every frame but the second, on which it errs everywhere."""

    num_labels = 4

    def __init__(self, weights: Path, device: str):
        assert weights.parent == Path("checkpoint")

    def __call__(self, image: np.ndarray) -> Segments:
        t = int(image[0, 0, 0])
        return Segments(np.full_like(maps_at(t)[0], 9) if t == 1 else maps_at(t)[0])


class KnowsNone(KnowsAllButTheSecond):
    """Takes every frame for the second."""

    def __call__(self, image: np.ndarray) -> Segments:
        return super().__call__(image * 0 + 1)


def test_a_data_set_without_any_object_is_a_problem(tmp_path):
    write_all(tmp_path)
    given = {"rendered": str(tmp_path / "rendered"), "out": str(tmp_path / "out"), "labels": str(tmp_path / "labels")}
    config = make_config(ExportConfig, given | {"format": "coco", "things": (99,)}, "test")
    (problem,) = COMMAND.call(config, RunOptions())
    assert "class 99" in problem
    assert (tmp_path / "out" / "annotations").is_dir(), "written all the same"


def test_frames_of_low_fidelity_are_rejected_and_listed(tmp_path, monkeypatch):
    write_all(tmp_path)
    use_estimator(monkeypatch, "segment", "trained", f"{__name__}:KnowsAllButTheSecond")
    out = export(tmp_path, "yolo", reject_below=0.5, segmenter="checkpoint")
    kept = sorted(path.stem for path in (out / "images" / "train").iterdir())
    assert kept == ["a_000000_000007", "b_000001_000009"]
    scores = json.loads((out / SCORES).read_text())
    assert scores["frames"] == {"a_000000_000007": 1.0, "a_000000_000008": 0.0, "b_000001_000009": 1.0}
    use_estimator(monkeypatch, "segment", "trained", f"{__name__}:KnowsNone")
    with raises("frames-missing", "0.5"):
        export(tmp_path, "yolo", out="none", reject_below=0.5, segmenter="checkpoint")
    assert not (tmp_path / "none").exists()


class KnowsWhatMoves(KnowsAllButTheSecond):
    """Finds cars and persons as one class, and nothing else."""

    num_labels = 1

    def __call__(self, image: np.ndarray) -> Segments:
        labels = super().__call__(image).labels
        return Segments(np.where(np.isin(labels, (CAR, PERSON)), 0, 255).astype(np.uint8))


def test_a_segmenter_of_merged_classes_judges_merged_labels(tmp_path, monkeypatch):
    write_all(tmp_path)
    use_estimator(monkeypatch, "segment", "trained", f"{__name__}:KnowsWhatMoves")
    with raises("label-count-mismatch", "--remap"):
        export(tmp_path, "yolo", out="none", reject_below=0.5, segmenter="checkpoint")
    (tmp_path / "moving.toml").write_text('classes = [{ id = 0, name = "moving", merges = ["car", "person"] }]')
    remap = tmp_path / "moving.toml"
    out = export(tmp_path, "yolo", reject_below=0.5, segmenter="checkpoint", remap=remap)
    assert list(json.loads((out / SCORES).read_text())["frames"].values()) == [1.0, 0.0, 1.0]
    written = np.array(Image.open(next((out / "maps").rglob("a_000000_000007*"))))
    assert np.isin((CAR, PERSON, ROAD), written).all(), "the data set keeps its labels"


@pytest.mark.parametrize(
    ("settings", "code", "named"),
    [
        ({"remap": "cityscapes"}, "setting-unused", "--remap"),
        ({"reject_below": 0.5}, "setting-required", "--segmenter"),
        ({"segmenter": "checkpoint"}, "setting-required", "--reject-below"),
        ({"classes": None}, "setting-required", "--things"),
        ({"things": ("bus",)}, "class-unknown", "bus"),
        ({"labels": "nowhere"}, "folder-missing", "nowhere"),
        ({"rendered": "nowhere"}, "file-missing", "nowhere"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(tmp_path, settings, code, named):
    write_all(tmp_path)
    with raises(code, named):
        export(tmp_path, "coco", **settings)
    assert not (tmp_path / "out").exists()


def test_a_frame_without_a_map_is_refused(tmp_path):
    write_all(tmp_path)
    (tmp_path / "labels" / "a_000000_000008.png").unlink()
    with raises("map-missing", "a_000000_000008"):
        export(tmp_path, "coco")


def test_only_an_earlier_data_set_is_replaced(tmp_path):
    write_all(tmp_path)
    out = export(tmp_path, "coco")
    with raises("folder-not-empty", "--overwrite"):
        export(tmp_path, "yolo")
    assert (export(tmp_path, "yolo", overwrite=True) / "data.yaml").exists()
    assert not (out / "annotations").exists()
    write_images(tmp_path / "mine", [np.zeros((4, 4), np.uint8)])
    with raises("folder-not-empty", "mine"):
        export(tmp_path, "coco", out="mine", overwrite=True)


def test_pictures_keep_given_names_and_their_folder_can_be_replaced(tmp_path):
    frames = [np.full((8, 8, 3), value, np.uint8) for value in (10, 20)]
    for names in (("street_2", "street_1"), ("b", "a"), ()):
        with PictureWriter(tmp_path / "out", names=names) as writer:
            for frame in frames:
                writer.write(frame)
        found = {path.stem: np.array(Image.open(path))[0, 0, 0] for path in (tmp_path / "out").glob("*.png")}
        assert found == dict(zip(names or ("000000", "000001"), (10, 20), strict=True))
    with raises("name-conflict", "a.png"):
        PictureWriter(tmp_path / "out", names=("a", "a"))
    (tmp_path / "out" / "foreign.png").touch()
    with raises("folder-not-empty", "foreign.png"):
        PictureWriter(tmp_path / "out", names=("a", "b"))
