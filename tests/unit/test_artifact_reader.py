"""Reading files of shards: verified when a shard is first met, remote shards once and through a local cache."""

import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.slow_store import SlowStore, register
from tests.errors import raises
from tests.unit.training_data import make_workspace
from v2vkit.artifacts import shard_cache
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, read_manifest
from v2vkit.artifacts.reader import ArtifactReader
from v2vkit.artifacts.shard_cache import cache_folder, cached_shard
from v2vkit.conditions.clips import ClipReader


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reader")
    make_workspace(path, num_clips=3, clip_frames=4)
    return path


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of a store, whose shards are cached below `tmp_path`."""
    register()
    monkeypatch.setenv("V2V_CACHE", str(tmp_path / "cache"))
    SlowStore.requests.clear()
    yield SlowStore.requests
    SlowStore.requests.clear()


def manifest_of(work: Path, kind: str = "frames") -> Manifest:
    manifest = read_manifest(Folder(f"{work}/{kind}"))
    assert manifest is not None
    return manifest


def reader_of(work: Path, *, remote: bool = False) -> ArtifactReader:
    prefix = "slowstore://" if remote else ""
    return ArtifactReader(Folder(f"{prefix}{work}/frames"), manifest_of(work))


def read_all(reader: ArtifactReader) -> list[bytes]:
    return [reader.read(f"clip-{clip:04d}", t, "png") for clip in (2, 0, 1) for t in (3, 0, 2, 1)]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 0xFF
    path.write_bytes(data)


def test_a_shard_is_verified_when_it_is_first_met_and_no_sooner(work: Path) -> None:
    damage(work / "frames/shard-00001.tar")
    kinds = {kind: manifest_of(work, kind) for kind in ("frames", "labels")}
    reader = ClipReader(Folder(str(work)), kinds)
    assert reader.frame("clip-0000", 1).shape == (24, 32, 3)
    for _ in range(2):
        with raises("shard-damaged", "frames/shard-00001.tar"):
            reader.frame("clip-0001", 1)
    assert reader.has("labels", "clip-0001", 1, "label.png")


@pytest.mark.parametrize("remote", [False, True])
def test_a_truncated_or_missing_shard_is_named(work: Path, requests: list[str], remote: bool) -> None:
    path = work / "frames/shard-00000.tar"
    size = path.stat().st_size
    os.truncate(path, size - 512)
    with raises("shard-damaged", "shard-00000.tar", str(size - 512), str(size)):
        reader_of(work, remote=remote).read("clip-0000", 0, "png")
    path.unlink()
    with raises("shard-missing", "frames/shard-00000.tar"):
        reader_of(work, remote=remote).has("clip-0000", 0, "png")


def test_offsets_come_from_the_tar_and_never_from_the_index(work: Path) -> None:
    expected = read_all(reader_of(work))
    for path in (work / "frames").glob("*.index.json"):
        path.write_text(path.read_text().replace('":[', '":[1'))
    assert read_all(reader_of(work)) == expected


def test_a_remote_shard_is_one_request_whatever_is_read_of_it(made: Path, requests: list[str]) -> None:
    expected = read_all(reader_of(made))
    assert read_all(reader_of(made, remote=True)) == expected
    names = [f"get {made}/frames/shard-{number:05d}.tar" for number in (2, 0, 1)]
    assert requests == names
    assert read_all(reader_of(made, remote=True)) == expected  # another run: from the cache
    assert requests == names


def test_the_local_disk_and_memory_need_no_cache(made: Path, requests: list[str]) -> None:
    read_all(reader_of(made))
    for path in (made / "frames").iterdir():
        Folder("memory://reader/frames").write(path.name, path.read_bytes())
    in_memory = ArtifactReader(Folder("memory://reader/frames"), manifest_of(made))
    assert read_all(in_memory) == read_all(reader_of(made))
    assert not cache_folder().exists()


def test_a_damaged_copy_is_downloaded_again(made: Path, requests: list[str]) -> None:
    expected = read_all(reader_of(made, remote=True))
    (path,) = cache_folder().glob(f"{manifest_of(made).shards[0].sha256}.tar")
    damage(path)
    assert read_all(reader_of(made, remote=True)) == expected
    assert len(requests) == 3 + 1


def test_a_damaged_remote_shard_is_named_and_not_kept(work: Path, requests: list[str]) -> None:
    damage(work / "frames/shard-00000.tar")
    for _ in range(2):
        with raises("shard-damaged", "slowstore://", "/frames/shard-00000.tar"):
            reader_of(work, remote=True).read("clip-0000", 0, "png")
    assert not list(cache_folder().glob("*.tar"))


def test_the_cache_stays_within_its_limit(made: Path, requests: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    size = manifest_of(made).shards[0].bytes
    monkeypatch.setenv("V2V_CACHE_GB", str(2.5 * size / 1e9))
    reader = reader_of(made, remote=True)
    assert read_all(reader) == read_all(reader_of(made))
    assert len(list(cache_folder().glob("*.tar"))) == 2
    # What was removed meanwhile is downloaded again.
    assert read_all(reader) == read_all(reader_of(made))


def test_the_cache_drops_the_least_recently_used_first(
    made: Path, requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = manifest_of(made).shards
    monkeypatch.setenv("V2V_CACHE_GB", str(2.5 * entries[0].bytes / 1e9))
    for clip in (0, 1):
        reader_of(made, remote=True).read(f"clip-{clip:04d}", 0, "png")
        os.utime(cache_folder() / f"{entries[clip].sha256}.tar", (clip, clip))
    for clip in (0, 2):  # 0 is used again by another run, so 1 makes room
        reader_of(made, remote=True).read(f"clip-{clip:04d}", 0, "png")
    kept = {path.name.removesuffix(".tar") for path in cache_folder().glob("*.tar")}
    assert kept == {entries[0].sha256, entries[2].sha256}


def test_making_room_keeps_the_downloads_of_other_processes(
    made: Path, requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = manifest_of(made).shards
    monkeypatch.setenv("V2V_CACHE_GB", str(1.5 * entries[0].bytes / 1e9))
    running, abandoned = (cache_folder() / f".tmp-{number}-{entries[0].sha256}.tar" for number in (1, 2))
    cache_folder().mkdir(parents=True)
    for path in (running, abandoned):
        path.write_bytes(bytes(2 * entries[0].bytes))
    os.utime(abandoned, (1, 1))
    reader_of(made, remote=True).read("clip-0001", 0, "png")
    assert running.exists()
    assert not abandoned.exists()


def test_a_shard_that_is_gone_is_not_an_error_of_the_cache(work: Path, requests: list[str]) -> None:
    entry = manifest_of(work).shards[0]
    (work / "frames" / entry.name).unlink()
    with pytest.raises(FileNotFoundError):
        cached_shard(Folder(f"slowstore://{work}/frames"), entry)


_HOLDS = """
import sys
from pathlib import Path
from v2vkit.artifacts.shard_cache import _locked
with _locked(Path(sys.argv[1]), "a"):
    print("held", flush=True)
    sys.stdin.read()
    print("let go", flush=True)
"""


def test_two_processes_do_not_hold_one_lock(tmp_path: Path) -> None:
    held: list[str] = []
    command = [sys.executable, "-c", _HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

        def wait() -> None:
            with shard_cache._locked(tmp_path, "a"):
                held.append("here")

        thread = threading.Thread(target=wait)
        thread.start()
        with shard_cache._locked(tmp_path, "b"):
            assert not held
        process.stdin.close()
        thread.join()
        assert process.stdout.readline() == "let go\n"
    assert held == ["here"]


def test_a_download_that_fails_leaves_nothing(made: Path, requests: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Folder, name: str, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise ConnectionError("the line is dead")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "download", broken)
        with raises("network-failed"):
            reader_of(made, remote=True).read("clip-0000", 0, "png")
    assert not [path for path in cache_folder().iterdir() if path.suffix != ".lock"]
    assert reader_of(made, remote=True).read("clip-0000", 0, "png")


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan"])
def test_a_limit_that_is_none_is_refused(
    made: Path, requests: list[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("V2V_CACHE_GB", text)
    with raises("setting-invalid", f"V2V_CACHE_GB={text}"):
        reader_of(made, remote=True).read("clip-0000", 0, "png")


def test_a_plan_can_say_how_remote_shards_are_read(
    made: Path, requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"frames": manifest_of(made)}
    assert ClipReader(Folder(str(made)), kinds).note is None
    remote = ClipReader(Folder(f"slowstore://{made}"), kinds)
    assert remote.note == f"0.0 GB of remote shards through the cache {cache_folder()} of 100 GB"
    monkeypatch.setenv("V2V_CACHE_GB", "1e-6")
    assert "too small: shards are downloaded repeatedly (V2V_CACHE_GB)" in str(remote.note)


def test_a_reader_goes_to_another_process(made: Path) -> None:
    reader = reader_of(made)
    again = pickle.loads(pickle.dumps(reader))
    assert read_all(again) == read_all(reader)
