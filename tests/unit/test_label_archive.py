"""`v2v ingest --labels task.zip`: mask archives of CVAT as they are downloaded, and archives that mean harm."""

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.ingesting import contents, ingest, manifest
from tests.unit.test_label_formats import COUNT, cvat, images
from v2vkit.video import label_archive
from v2vkit.video.label_archive import unpacked


def packed(folder: Path, target: Path, *, top: str = "") -> Path:
    """An archive of everything in a folder, below the folder `top` in it."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, top + str(file.relative_to(folder)))
    return target


@pytest.mark.parametrize("top", ["", "task 7/"])
def test_an_archive_gives_the_same_labels_as_its_folder(tmp_path: Path, top: str) -> None:
    folder = cvat(tmp_path / "export")
    (folder / "ImageSets").mkdir()
    (folder / "ImageSets" / "default.txt").write_text("frame0")
    archive = packed(folder, tmp_path / "task.ZIP", top=top)
    ingest(tmp_path / "a", images(tmp_path), labels=folder, instances=folder)
    ingest(tmp_path / "b", tmp_path / "street", labels=archive, instances=archive)
    a, b = contents(tmp_path / "a", "labels"), contents(tmp_path / "b", "labels")
    assert list(a) == list(b)
    assert len(a) == 2 * COUNT
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert manifest(tmp_path / "a", "labels")["fingerprint"] == manifest(tmp_path / "b", "labels")["fingerprint"]


def test_only_the_maps_and_their_table_are_unpacked(tmp_path: Path) -> None:
    folder = cvat(tmp_path / "export")
    (folder / "run.sh").write_text("rm")
    (folder / "SegmentationClass" / "evil.exe").write_text("x")
    there = Path(unpacked(str(packed(folder, tmp_path / "task.zip"))))
    assert {path.suffix for path in there.rglob("*") if path.is_file()} == {".png", ".txt"}
    assert there.name == "task.zip", "messages name the archive"


def test_a_changed_archive_is_unpacked_again(tmp_path: Path) -> None:
    folder, path = cvat(tmp_path / "export"), tmp_path / "task.zip"
    first = unpacked(str(packed(folder, path)))
    assert unpacked(str(path)) == first
    (folder / "labelmap.txt").write_text("road:128,64,128::\n")
    again = unpacked(str(packed(folder, path)))
    assert (Path(again) / "labelmap.txt").read_text() == "road:128,64,128::\n"


Member = tuple[str | zipfile.ZipInfo, bytes]


def _linked() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("SegmentationClass/a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


HOSTILE: dict[str, list[Member]] = {
    "parent": [("../SegmentationClass/a.png", b"")],
    "hidden parent": [("SegmentationClass/../../a.png", b"")],
    "absolute": [("/tmp/a.png", b"")],
    "drive": [("C:/a.png", b"")],
    "link": [(_linked(), b"/etc/passwd")],
    "twice": [("SegmentationClass/a.png", b"1"), ("SegmentationClass/A.png", b"2")],
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_members_that_lead_elsewhere_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "task.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labelmap.txt", "road:128,64,128::\n")
        for name, data in HOSTILE[fault]:
            archive.writestr(name, data)
    empty = tmp_path / "temporary"
    empty.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(empty))
    with raises("archive-unsafe", "task.zip"):
        unpacked(str(path))
    assert list(empty.iterdir()) == []


def test_bombs_are_refused_by_what_they_would_unpack_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "task.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labelmap.txt", "road:128,64,128::\n")
        archive.writestr("SegmentationClass/a.png", bytes(3_000_000))
    unpacked(str(path))  # small ones may be well packed
    label_archive._unpacked.cache_clear()
    monkeypatch.setattr(label_archive, "_SMALL", 1_000_000)
    with raises("archive-unsafe", "task.zip"):
        unpacked(str(path))
    monkeypatch.setattr(label_archive, "_MAX_RATIO", 10_000)
    unpacked(str(path))
    label_archive._unpacked.cache_clear()
    monkeypatch.setattr(label_archive, "_MAX_BYTES", 2_000_000)
    with raises("archive-unsafe", "task.zip"):
        unpacked(str(path))
    monkeypatch.setattr(label_archive, "_MAX_BYTES", 4_000_000)
    monkeypatch.setattr(label_archive, "_MAX_MEMBERS", 1)
    with raises("archive-unsafe", "2 files"):
        unpacked(str(path))


def _lying_size(path: Path) -> None:
    """The directory says fewer bytes than the member has."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labelmap.txt", "road:128,64,128::\n" * 1000)
    data = path.read_bytes()
    size = (18000).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, (18).to_bytes(4, "little")))


def _flipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labelmap.txt", "road:128,64,128::\n")
    path.write_bytes(path.read_bytes().replace(b"road", b"rood", 1))


def _encrypted(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labelmap.txt", "road:128,64,128::\n")
    data = bytearray(path.read_bytes())
    data[6] |= 1  # of the member
    data[data.index(b"PK\x01\x02") + 8] |= 1  # of the directory
    path.write_bytes(data)


def _cut(path: Path) -> None:
    _flipped(path)
    path.write_bytes(path.read_bytes()[:-9])


def _other(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("masks/frame0.png", b"")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_lying_size, "archive-damaged"),
        (_flipped, "archive-damaged"),
        (_encrypted, "archive-damaged"),
        (_cut, "archive-damaged"),
        (_other, "archive-unsupported"),
        (lambda path: None, "file-missing"),
    ],
)
def test_archives_that_cannot_be_read_are_told(tmp_path: Path, make: Callable[[Path], None], code: str) -> None:
    make(tmp_path / "task.zip")
    with raises(code, "task.zip"):
        unpacked(str(tmp_path / "task.zip"))
