"""`v2v ingest --labels`: label and instance maps beside the frames."""

import numpy as np
import pytest
from PIL import Image

from tests.errors import raises
from tests.unit.ingesting import contents, ingest, label_maps, manifest, write_images
from tests.unit.video_files import moving_frames, write_file
from v2vkit.video.sources import natural_key


def test_labels_of_images_are_cropped_and_resized_like_the_frames(tmp_path):
    """A frame that shows its own label map as grey values must still show it after cropping and resizing."""
    maps = [np.kron(m, np.ones((4, 4), np.uint8)) for m in label_maps(10, 32, 16)]
    folder = write_images(tmp_path / "street", [np.dstack([50 * m] * 3) for m in maps])
    labels = write_images(tmp_path / "labels", maps)
    ingest(tmp_path / "work", folder, labels=labels, crop="center", size="32x32", lossless=True, num_labels=5)
    frames, ids = contents(tmp_path / "work"), contents(tmp_path / "work", "labels")
    assert list(ids) == [name.replace(".png", ".label.png") for name in frames]
    for frame, label in zip(frames.values(), ids.values(), strict=True):
        assert label.dtype == np.uint8
        assert np.array_equal(frame[:, :, 0], 50 * label)
    assert manifest(tmp_path / "work", "labels")["units"] == manifest(tmp_path / "work")["units"]
    assert manifest(tmp_path / "work", "labels")["inputs"]["frames"] == manifest(tmp_path / "work")["fingerprint"]


def test_ignore_and_instances_survive(tmp_path):
    maps = label_maps(8)
    maps[3][10:20, 10:20] = 255
    instances = [m.astype(np.uint16) * 1000 + 7 for m in label_maps(8)]
    folder = write_images(tmp_path / "street", moving_frames(8))
    write_images(tmp_path / "labels", maps)
    write_images(tmp_path / "instances", instances)
    ingest(
        tmp_path / "work",
        folder,
        labels=tmp_path / "labels",
        instances=tmp_path / "instances",
        num_labels=5,
        cuts="none",
    )
    found = contents(tmp_path / "work", "labels")
    for t in range(8):
        assert np.array_equal(found[f"street-0000/{t:06d}.label.png"], maps[t])
        assert np.array_equal(found[f"street-0000/{t:06d}.inst.png"], instances[t])


def test_labels_of_a_part_belong_to_that_part(tmp_path):
    maps = label_maps(50)
    video = write_file(tmp_path / "drive.mp4", moving_frames(50))
    labels = write_images(tmp_path / "labels", maps, pattern="map_{}.png")
    ingest(tmp_path / "work", video, labels=labels, start=1.0, duration=0.6, cuts="none", min_frames=4, clip_frames=8)
    found = list(contents(tmp_path / "work", "labels").values())
    assert len(found) == 15
    assert all(np.array_equal(a, b) for a, b in zip(found, maps[25:40], strict=True))


def test_several_sources_have_sub_folders_of_labels(tmp_path):
    for name, shift in (("a", 0), ("b", 1)):
        write_images(tmp_path / "images" / name, moving_frames(8))
        write_images(tmp_path / "labels" / name, label_maps(9)[shift : shift + 8])
    ingest(tmp_path / "work", tmp_path / "images", labels=tmp_path / "labels")
    found = contents(tmp_path / "work", "labels")
    assert np.array_equal(found["a-0000/000001.label.png"], found["b-0000/000000.label.png"])
    assert not np.array_equal(found["a-0000/000000.label.png"], found["b-0000/000000.label.png"])


def test_a_single_source_may_have_its_sub_folder_of_labels(tmp_path):
    write_images(tmp_path / "images" / "a", moving_frames(8))
    write_images(tmp_path / "labels" / "a", label_maps(8))
    ingest(tmp_path / "work", tmp_path / "images", labels=tmp_path / "labels")
    assert np.array_equal(contents(tmp_path / "work", "labels")["a-0000/000003.label.png"], label_maps(8)[3])


def test_label_names_that_agree_are_matched_by_name(tmp_path):
    folder = write_images(tmp_path / "street", moving_frames(8), pattern="{}.jpg")
    maps = label_maps(8)
    labels = write_images(tmp_path / "labels", maps, pattern="{}.png")
    (labels / "5.png").unlink()
    with raises("map-missing", "5.png"):
        ingest(tmp_path / "work", folder, labels=labels)
    Image.fromarray(maps[5]).save(labels / "5.png")
    Image.fromarray(maps[5]).save(labels / "99.png")
    with raises("map-unmatched", "99.png"):
        ingest(tmp_path / "work", folder, labels=labels)
    (labels / "99.png").unlink()
    ingest(tmp_path / "work", folder, labels=labels)


def test_palette_labels_need_a_word(tmp_path):
    folder = write_images(tmp_path / "street", moving_frames(8))
    labels = tmp_path / "labels"
    labels.mkdir()
    maps = label_maps(8)
    for i, ids in enumerate(maps):
        image = Image.fromarray(ids, mode="P") if i % 2 else Image.fromarray(ids).convert("P")
        image.putdata(ids.flatten().tolist())
        image.putpalette([(37 * k) % 256 for k in range(768)])
        image.save(labels / f"frame{i}.png")
    with raises("pixel-format-unsupported", "frame0.png", "--allow-palette"):
        ingest(tmp_path / "work", folder, labels=labels)
    ingest(tmp_path / "work", folder, labels=labels, allow_palette=True, num_labels=5)
    found = list(contents(tmp_path / "work", "labels").values())
    assert all(np.array_equal(a, b) for a, b in zip(found, maps, strict=True))


@pytest.mark.parametrize(
    ("spoil", "code", "value"),
    [
        (lambda m: Image.fromarray(np.dstack([m] * 3)), "pixel-format-unsupported", "3 channels"),
        (lambda m: Image.fromarray(np.dstack([m] * 4)), "pixel-format-unsupported", "4 channels"),
        (lambda m: Image.fromarray(m[:, :32]), "size-mismatch", "32x48"),
        (lambda m: Image.fromarray(m + 7), "label-id-out-of-range", " 11"),
        (lambda m: Image.fromarray(m.astype(np.uint16) + 1000), "label-id-out-of-range", " 1004"),
        (lambda m: Image.fromarray(m > 2), "pixel-format-unsupported", "1 bit"),
    ],
)
def test_wrong_label_maps_are_explained_before_any_work(tmp_path, spoil, code, value):
    folder = write_images(tmp_path / "street", moving_frames(8))
    labels = write_images(tmp_path / "labels", label_maps(8))
    spoil(label_maps(8)[6]).save(labels / "frame6.png")
    with raises(code, "frame6.png", value):
        ingest(tmp_path / "work", folder, labels=labels, num_labels=5)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda data: data[: len(data) // 2], "image-damaged"),
        (lambda data: b"", "file-empty"),
        (lambda data: b"text" * 50, "format-unsupported"),
    ],
)
def test_damaged_label_maps_are_named(tmp_path, spoil, code):
    folder = write_images(tmp_path / "street", moving_frames(8))
    noise = np.random.default_rng(0).integers(0, 5, (48, 64), dtype=np.uint8)
    labels = write_images(tmp_path / "labels", [noise] * 8)
    path = labels / "frame6.png"
    path.write_bytes(spoil(path.read_bytes()))
    with raises(code, "frame6.png"):
        ingest(tmp_path / "work", folder, labels=labels)


def test_label_folders_that_are_mistakes(tmp_path):
    folder = write_images(tmp_path / "street", moving_frames(8))
    video = write_file(tmp_path / "drive.mp4", moving_frames(9))
    labels = write_images(tmp_path / "labels", label_maps(8))
    jpegs = write_images(tmp_path / "jpegs", label_maps(8), pattern="{}.jpg")
    with raises("frame-count-mismatch", "9 frames", "8 label maps"):
        ingest(tmp_path / "work", video, labels=labels)
    with raises("format-unsupported", "0.jpg"):
        ingest(tmp_path / "work", folder, labels=jpegs)
    with raises("folder-missing", "nowhere"):
        ingest(tmp_path / "work", folder, labels=tmp_path / "nowhere")
    with raises("folder-missing", "labels/street"):
        ingest(tmp_path / "work", folder, video, labels=labels)
    assert not (tmp_path / "work").exists()


def test_a_changed_label_map_makes_the_artifact_stale(tmp_path):
    folder = write_images(tmp_path / "street", moving_frames(8))
    labels = write_images(tmp_path / "labels", label_maps(8))
    ingest(tmp_path / "work", folder, labels=labels)
    assert "nothing to do" in ingest(tmp_path / "work", folder, labels=labels).message
    Image.fromarray(label_maps(9)[8]).save(labels / "frame6.png")
    with raises("artifact-stale", "labels"):
        ingest(tmp_path / "work", folder, labels=labels)


def test_all_wrong_maps_are_counted_and_named(tmp_path):
    folder = write_images(tmp_path / "street", moving_frames(12))
    labels = write_images(tmp_path / "labels", label_maps(12))
    names = sorted(path.name for path in labels.iterdir())
    for name in names[1:9]:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(labels / name)
    first, *others = sorted(names[1:9], key=natural_key)
    with raises("size-mismatch", str(labels / first), "4x4", "64x48", "8 of 12", ", ".join(others[:5])):
        ingest(tmp_path / "work", folder, labels=labels)
    for name in others:
        Image.fromarray(label_maps(1)[0]).save(labels / name)
    with raises("size-mismatch", first) as caught:
        ingest(tmp_path / "work", folder, labels=labels)
    assert "of 12" not in caught.error.message


@pytest.mark.parametrize("setting", [{"num_labels": 3}, {"allow_palette": True}])
def test_settings_of_labels_need_labels(tmp_path, setting):
    flag = f"--{next(iter(setting)).replace('_', '-')}"
    with raises("setting-invalid", flag):
        ingest(tmp_path / "work", write_images(tmp_path / "street", moving_frames(8)), **setting)
