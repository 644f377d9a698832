"""`v2v ingest --labels` in the formats of data sets, simulators and annotation programs, right and wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.errors import raises
from tests.unit.conftest import Command
from tests.unit.ingesting import clips, contents, ingest, label_maps, manifest, write_images
from tests.unit.rendering import save_untrained
from tests.unit.video_files import moving_frames, write_file
from v2vkit.artifacts.images import decode_image
from v2vkit.classes.table import built_in
from v2vkit.conditions.label_ids import colorize
from v2vkit.conditions.label_report import table_problem
from v2vkit.inference.sources import open_label_source
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.show import ShowConfig, show

CAMVID = built_in("camvid")
CARLA = built_in("carla")
COUNT = 8


def coloured(ids: np.ndarray, table=CAMVID) -> np.ndarray:
    colours = {of.id: of.colour for of in reversed(table.classes)}
    image = np.zeros((*ids.shape, 3), np.uint8)
    for label in np.unique(ids).tolist():
        image[ids == label] = colours[label]
    return image


def images(folder: Path) -> Path:
    return write_images(folder / "street", moving_frames(COUNT))


def labels_of(work: Path, kind: str = "labels") -> list[np.ndarray]:
    return [ids for name, ids in contents(work, kind).items() if name.endswith("label.png")]


def assert_labels(work: Path, wanted: list[np.ndarray]) -> None:
    found = labels_of(work)
    assert len(found) == len(wanted)
    for ids, of in zip(found, wanted, strict=True):
        assert np.array_equal(ids, of)


def with_palette(ids: np.ndarray, colours: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids, mode="P")
    image.putpalette(colours.flatten().tolist())
    return image


def test_ids_of_a_table_are_taken_and_ignored_classes_become_255(tmp_path: Path) -> None:
    maps = label_maps(COUNT, num_labels=12)
    folder = write_images(tmp_path / "labels", maps)
    ingest(tmp_path / "work", images(tmp_path), labels=folder, classes="camvid")
    assert_labels(tmp_path / "work", [np.where(ids == 11, 255, ids) for ids in maps])
    assert manifest(tmp_path / "work", "labels")["config"]["classes"]["name"] == "camvid"


def test_colours_and_palettes_of_a_table_are_taken(tmp_path: Path) -> None:
    maps = label_maps(COUNT, num_labels=5)
    folder = tmp_path / "labels"
    folder.mkdir()
    palette = np.zeros((256, 3), np.uint8)
    palette[[9, 8, 7, 6, 5]] = [of.colour for of in CAMVID.classes[:5]]
    for i, ids in enumerate(maps):
        image = with_palette(np.uint8(9) - ids, palette) if i % 2 else Image.fromarray(coloured(ids))
        image.save(folder / f"frame{i}.png")
    ingest(tmp_path / "work", images(tmp_path), labels=folder, classes="camvid")
    assert_labels(tmp_path / "work", maps)


def test_near_colours_are_taken_only_when_asked_for(tmp_path: Path) -> None:
    maps = label_maps(COUNT)
    folder = write_images(tmp_path / "labels", [coloured(ids) ^ 1 for ids in maps])
    ingest(tmp_path / "work", images(tmp_path), labels=folder, classes="camvid", nearest_colour=True)
    assert_labels(tmp_path / "work", maps)


@pytest.mark.parametrize("kind", ["raw", "colours", "instances"])
def test_carlas_cameras(tmp_path: Path, kind: str) -> None:
    """Raw: the tag in red (of BGRA pictures); its colour converter; and the instance camera, tag in red, object in
    green and blue."""
    maps = label_maps(COUNT, num_labels=20)
    objects = np.arange(48 * 64).reshape(48, 64) // 100
    raw = [np.dstack([ids, 0 * ids, 0 * ids, 0 * ids + 255]) for ids in maps]
    if kind == "colours":
        raw = [coloured(ids, CARLA) for ids in maps]
    if kind == "instances":
        raw = [np.dstack([ids, objects % 256, objects // 256, 0 * ids + 255]).astype(np.uint8) for ids in maps]
    folder = write_images(tmp_path / "labels", raw)
    extra = {"instances": folder} if kind == "instances" else {}
    ingest(tmp_path / "work", images(tmp_path), labels=folder, classes="carla", **extra)
    assert_labels(tmp_path / "work", maps)
    if extra:
        found = contents(tmp_path / "work", "labels")
        assert np.array_equal(found["street-0000/000000.inst.png"], objects)


def test_synthias_16_bit_maps(tmp_path: Path) -> None:
    maps = label_maps(COUNT, num_labels=8)
    folder = tmp_path / "labels"
    folder.mkdir()
    for i, ids in enumerate(maps):
        stored = np.dstack([0 * ids, ids + 300, ids + 1]).astype(np.uint16)  # blue, green, red
        cv2.imwrite(str(folder / f"frame{i}.png"), stored)
    ingest(tmp_path / "work", images(tmp_path), labels=folder, instances=folder, classes="synthia")
    assert_labels(tmp_path / "work", [ids + 1 for ids in maps])
    found = contents(tmp_path / "work", "labels")
    assert np.array_equal(found["street-0000/000000.inst.png"], maps[0].astype(int) + 300)


def test_cityscapes_folders_with_a_table(tmp_path: Path) -> None:
    maps = [ids + 23 for ids in label_maps(COUNT)]
    for city in ("aachen", "bochum"):
        write_images(
            tmp_path / "leftImg8bit" / city, moving_frames(COUNT), pattern=f"{city}_000_{{:06d}}_leftImg8bit.png"
        )
        write_images(tmp_path / "gtFine" / city, maps, pattern=f"{city}_000_{{:06d}}_gtFine_labelIds.png")
        for i, ids in enumerate(maps):
            stem = tmp_path / "gtFine" / city / f"{city}_000_{i:06d}_gtFine"
            Image.fromarray(ids.astype(np.uint16) * 1000).save(f"{stem}_instanceIds.png")
            Image.fromarray(coloured(ids, built_in("cityscapes"))).save(f"{stem}_color.png")
    source, truth = tmp_path / "leftImg8bit", tmp_path / "gtFine"
    ingest(tmp_path / "work", source, labels=truth, instances=truth, classes="cityscapes")
    assert_labels(tmp_path / "work", maps + maps)


LABEL_MAP = (
    "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:64,0,128::\nbig tree:0,128,0::\n"
)


def cvat(folder: Path) -> Path:
    """Background, and the classes road, car, big tree in colours (CVAT writes palettes, too)."""
    maps = label_maps(COUNT, num_labels=4)
    colours = np.array([(0, 0, 0), (128, 64, 128), (64, 0, 128), (0, 128, 0)], np.uint8)
    write_images(folder / "SegmentationClass", [colours[ids] for ids in maps])
    write_images(folder / "SegmentationObject", [(colours[ids] // 3 * 2) for ids in maps])
    (folder / "labelmap.txt").write_text(LABEL_MAP)
    return folder


def test_a_mask_export_of_cvat_brings_its_classes_and_objects(tmp_path: Path) -> None:
    folder = cvat(tmp_path / "export")
    ingest(tmp_path / "work", images(tmp_path), labels=folder, instances=folder, ids=("big tree=255",))
    maps = label_maps(COUNT, num_labels=4)
    assert_labels(tmp_path / "work", [np.array([255, 0, 1, 255], np.uint8)[ids] for ids in maps])
    found = contents(tmp_path / "work", "labels")["street-0000/000000.inst.png"]
    assert np.array_equal(found > 0, maps[0] > 0)
    assert len(np.unique(found)) == 4
    classes = manifest(tmp_path / "work", "labels")["config"]["classes"]["classes"]
    assert [of["name"] for of in classes] == ["background", "road", "car", "big tree"]


def panoptic(folder: Path, *, change: Callable[[dict], None] = lambda content: None) -> Path:
    """Two things (car) and a stuff (road) in every PNG, and pixels without a segment."""
    folder.mkdir()
    pictures = folder / "panoptic"
    pictures.mkdir()
    annotations = []
    for i, ids in enumerate(label_maps(COUNT, num_labels=4)):
        codes = np.array([0, 70_000, 300, 5])[ids]
        image = np.dstack([codes % 256, codes // 256 % 256, codes // 65536]).astype(np.uint8)
        Image.fromarray(image).save(pictures / f"frame{i}.png")
        segments = [{"id": 70_000, "category_id": 3}, {"id": 300, "category_id": 3}, {"id": 5, "category_id": 100}]
        annotations.append({"file_name": f"frame{i}.png", "image_id": i, "segments_info": segments})
    categories = [
        {"id": 3, "name": "car", "isthing": 1, "color": [0, 0, 142], "supercategory": "vehicle"},
        {"id": 100, "name": "road", "isthing": 0, "color": [128, 64, 128]},
    ]
    content = {"images": [], "annotations": annotations, "categories": categories}
    change(content)
    (folder / "panoptic.json").write_text(json.dumps(content))
    return folder / "panoptic.json"


def test_cocos_panoptic_format_brings_its_classes_and_objects(tmp_path: Path) -> None:
    description = panoptic(tmp_path / "coco")
    ingest(tmp_path / "work", images(tmp_path), labels=description, instances=description)
    maps = label_maps(COUNT, num_labels=4)
    assert_labels(tmp_path / "work", [np.array([255, 3, 3, 100], np.uint8)[ids] for ids in maps])
    found = contents(tmp_path / "work", "labels")["street-0000/000000.inst.png"]
    assert np.array_equal(found, np.array([0, 1, 2, 0])[maps[0]])


COARSE = """
classes = [
  { id = 0, name = "far", merges = ["sky", "building"] },
  { id = 1, name = "near", merges = ["road", "pole"], colour = [1, 2, 3] },
]
"""


def test_a_remap_merges_classes_and_its_table_travels(tmp_path: Path) -> None:
    (tmp_path / "coarse.toml").write_text(COARSE)
    maps = label_maps(COUNT, num_labels=5)
    folder = write_images(tmp_path / "labels", maps)
    work = tmp_path / "work"
    ingest(work, images(tmp_path), labels=folder, classes="camvid", remap=tmp_path / "coarse.toml")
    assert_labels(work, [np.array([0, 0, 1, 1, 255], np.uint8)[ids] for ids in maps])
    show(ShowConfig(artifact="labels", out=str(tmp_path / "o.png"), frames=1), RunOptions(work=str(work)))
    sheet = decode_image((tmp_path / "o.png").read_bytes())
    for colour in ((128, 128, 128), (1, 2, 3)):
        assert (sheet == colour).all(-1).sum() >= 48 * 64 // 4


def test_a_sheet_of_labels_has_the_tables_colours_and_a_legend(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "labels", label_maps(COUNT, num_labels=3))
    work = tmp_path / "work"
    ingest(work, images(tmp_path), labels=folder, classes="camvid")
    show(ShowConfig(artifact="labels", out=str(tmp_path / "named.png"), frames=1), RunOptions(work=str(work)))
    sheet = decode_image((tmp_path / "named.png").read_bytes())
    wanted = colorize(label_maps(COUNT, num_labels=3)[COUNT // 2], CAMVID)
    assert np.array_equal(sheet[22 : 22 + 48, 4 : 4 + 64], wanted)
    below = sheet[22 + 48 + 18 :]
    for of in CAMVID.classes[:3]:
        assert (below == of.colour).all(-1).sum() > 50


def test_sparse_labels_become_an_artifact_of_their_own(tmp_path: Path) -> None:
    maps = label_maps(COUNT)
    folder = tmp_path / "labels"
    folder.mkdir()
    for number in (1, 6):
        Image.fromarray(maps[number]).save(folder / f"frame{number}.png")
    work = tmp_path / "work"
    ingest(work, images(tmp_path), labels=folder, classes="camvid", sparse_labels=True)
    assert not (work / "labels").exists()
    found = contents(work, "sparse-labels")
    assert list(found) == ["street-0000/000001.label.png", "street-0000/000006.label.png"]
    assert np.array_equal(found["street-0000/000006.label.png"], maps[6])
    (clip,) = clips(work).values()
    assert [i for i, name in enumerate(clip["source"]["labels"]["files"]) if name] == [1, 6]
    assert CHECK.call(CheckConfig(), RunOptions(work=str(work))) == []


def test_sparse_labels_of_a_video_are_told_by_frame_numbers(tmp_path: Path, command: Command) -> None:
    video = write_file(tmp_path / "drive.mp4", moving_frames(20))
    maps = label_maps(20)
    folder = tmp_path / "labels"
    folder.mkdir()
    for number in (3, 17):
        Image.fromarray(maps[number]).save(folder / f"drive2_{number:06d}.png")
    ingest(tmp_path / "work", video, labels=folder, sparse_labels=True, cuts="none")
    found = contents(tmp_path / "work", "sparse-labels")
    assert [name[-16:-10] for name in found] == ["000003", "000017"]
    Image.fromarray(maps[0]).save(folder / "drive2_000020.png")
    code, output = command("ingest", video, "--labels", folder, "--sparse-labels", "--work", tmp_path / "w2")
    assert code == 1
    assert "[map-unmatched]" in output
    assert "drive2_000020.png" in output


def test_train_ids_where_label_ids_are_meant_are_told(tmp_path: Path, command: Command) -> None:
    assert table_problem({0, 2, 8, 10, 13, 255}, built_in("cityscapes")) is not None
    assert table_problem({0, 3, 7, 8, 11, 17}, built_in("cityscapes")) is None
    assert table_problem({0, 2, 8, 10, 13}, built_in("cityscapes-train")) is None
    folder = write_images(tmp_path / "labels", label_maps(COUNT, num_labels=19))
    work = ("--work", tmp_path / "work", "--workers", 1)
    code, output = command("ingest", images(tmp_path), "--labels", folder, "--classes", "cityscapes", *work)
    assert code == 3
    assert "--classes cityscapes-train" in output


def _maps(change: Callable[[np.ndarray], object]) -> Callable[[Path], Path]:
    """Maps of ids, one of which is something else."""

    def make(folder: Path) -> Path:
        maps = label_maps(COUNT)
        write_images(folder, maps)
        made = change(maps[6])
        path = folder / "frame6.png"
        path.write_bytes(made) if isinstance(made, bytes) else made.save(path)
        return folder

    return make


def _without(*names: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        cvat(folder)
        for name in names:
            path = folder / name
            path.rename(folder.parent / "elsewhere")
        return folder

    return make


def _cvat_text(text: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        cvat(folder)
        path = folder / "labelmap.txt"
        path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text)
        return folder

    return make


def _coco(change: Callable[[dict], None]) -> Callable[[Path], Path]:
    return lambda folder: panoptic(folder, change=change)


def _text_json(folder: Path) -> Path:
    path = panoptic(folder)
    path.write_text("[" * 100_000)
    return path


def _archive(folder: Path) -> Path:
    path = folder.with_suffix(".tgz")
    path.write_bytes(b"PK")
    return path


def _synthia_cut(folder: Path) -> Path:
    folder.mkdir()
    for i, ids in enumerate(label_maps(COUNT)):
        cv2.imwrite(str(folder / f"frame{i}.png"), np.dstack([ids, ids, ids]).astype(np.uint16))
    path = folder / "frame6.png"
    path.write_bytes(path.read_bytes()[:60])
    return folder


BAD: dict[str, tuple[Callable[[Path], Path], str, str | None, str]] = {
    "unknown colour": (_maps(lambda m: Image.fromarray(coloured(m) + 1)), "label-colour-unknown", "camvid", "nearest"),
    "colours of another table": (
        _maps(lambda m: Image.fromarray(coloured(m + 23, built_in("cityscapes")))),
        "label-colour-unknown",
        "camvid",
        "cityscapes",
    ),
    "palette of other colours": (
        _maps(lambda m: with_palette(m, np.full((256, 3), 77, np.uint8))),
        "label-colour-unknown",
        "camvid",
        "--allow-palette",
    ),
    "id of another table": (_maps(lambda m: Image.fromarray(m + 22)), "label-id-unknown", "camvid", "cityscapes"),
    "16-bit id": (
        _maps(lambda m: Image.fromarray(m.astype(np.uint16) * 999)),
        "label-id-unknown",
        "camvid",
        "frame6.png",
    ),
    "colours without a table": (
        _maps(lambda m: Image.fromarray(coloured(m))),
        "pixel-format-unsupported",
        None,
        "--classes",
    ),
    "raw tags with another simulator's": (
        _maps(lambda m: Image.fromarray(np.dstack([m + 99, 0 * m, 0 * m]))),
        "label-colour-unknown",
        "carla",
        "frame6.png",
    ),
    "cut off colours": (
        _maps(lambda m: _png(coloured(m))[:90]),
        "image-damaged",
        "camvid",
        "frame6.png",
    ),
    "cut off 16 bits": (_synthia_cut, "image-damaged", "synthia", "frame6.png"),
    "no class map": (_without("SegmentationClass"), "folder-missing", None, "SegmentationClass"),
    "cvat: a colour too large": (_cvat_text("road:1,2,900::\n"), "class-table-damaged", None, "labelmap.txt"),
    "cvat: no colour": (_cvat_text("road\n"), "class-table-damaged", None, "labelmap.txt"),
    "cvat: not text": (_cvat_text(b"\xff\xfe\x00road"), "class-table-damaged", None, "labelmap.txt"),
    "cvat: a class is missing": (_cvat_text("road:128,64,128::\n"), "label-colour-unknown", None, "--nearest-colour"),
    "coco: no categories": (_coco(lambda c: c.pop("categories")), "panoptic-damaged", None, "categories"),
    "coco: unknown category": (_coco(lambda c: c["categories"].pop()), "panoptic-damaged", None, "100"),
    "coco: unknown segment": (
        _coco(lambda c: c["annotations"][6]["segments_info"].pop()),
        "panoptic-damaged",
        None,
        "frame6.png",
    ),
    "coco: no annotation": (_coco(lambda c: c["annotations"].pop()), "map-unmatched", None, "frame7.png"),
    "coco: nested without end": (_text_json, "panoptic-damaged", None, "panoptic.json"),
    "archive": (_archive, "archive-packed", None, ".tgz"),
    "unknown table": (_maps(Image.fromarray), "class-table-unknown", "cityscape", "cityscapes"),
}


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.mark.parametrize("fault", BAD)
def test_bad_label_maps_are_refused_with_a_code_and_nothing_is_written(
    tmp_path: Path, fault: str, command: Command
) -> None:
    make, code, table, named = BAD[fault]
    labels = make(tmp_path / "maps")
    flags = [] if table is None else ["--classes", table]
    exit_code, output = command("ingest", images(tmp_path), "--labels", labels, "--work", tmp_path / "work", *flags)
    assert exit_code == 1
    assert f"error [{code}]" in output
    assert named in output
    assert not (tmp_path / "work").exists()


def test_check_reads_the_same_formats(tmp_path: Path, command: Command) -> None:
    folder = write_images(tmp_path / "labels", [coloured(ids) for ids in label_maps(COUNT)])
    sources = (str(images(tmp_path)),)
    assert CHECK.call(CheckConfig(sources=sources, labels=str(folder), classes="camvid"), RunOptions()) == []
    code, output = command("check", *sources, "--labels", folder, "--classes", "carla")
    assert code == 1
    assert "[label-colour-unknown]" in output


def test_a_model_is_rendered_from_maps_in_the_colours_that_it_was_ingested_with(tmp_path: Path) -> None:
    maps = label_maps(COUNT)
    folder = write_images(tmp_path / "labels", [coloured(ids) for ids in maps])
    frames = {"crop": "none", "classes": CAMVID.plain(), "fps": "25"}
    info = save_untrained(tmp_path / "model", "street", size=(64, 48), maps={"num_labels": 11}, frames=frames)
    source = open_label_source(str(folder), info)
    found = [frame.annotations[0].labels for frame in source.frames()]
    assert all(np.array_equal(a, b) for a, b in zip(found, maps, strict=True))
    broken = info.model_copy(update={"frames": {**frames, "classes": {"name": "x"}}})
    with raises("class-table-damaged"):
        open_label_source(str(folder), broken)


def test_a_table_without_colours_cannot_read_coloured_maps(tmp_path: Path, command: Command) -> None:
    (tmp_path / "plain.toml").write_text('classes = [{ id = 0, name = "road" }, { id = 1, name = "car" }]')
    folder = write_images(tmp_path / "labels", [coloured(ids) for ids in label_maps(COUNT)])
    flags = ("--labels", folder, "--classes", tmp_path / "plain.toml", "--work", tmp_path / "work")
    code, output = command("ingest", images(tmp_path), *flags)
    assert code == 1
    assert "[class-table-required]" in output
    assert "plain" in output
