"""Workspaces in an object store, against moto's S3 server: the same files as on a disk, whole or not at all."""

import contextlib
import hashlib
import importlib.util
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import v2vkit
from tests.errors import raises
from tests.unit.fake_stage import INVERT, SOURCE, InvertConfig, SourceConfig
from tests.unit.training_data import SMALL, make_workspace
from tests.unit.video_files import moving_frames, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.network import refuse_credentials
from v2vkit.artifacts.shard import ShardWriter
from v2vkit.config import as_plain
from v2vkit.errors import V2VError
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions

ROOT = Path(__file__).resolve().parents[2]
SECRET = "secret-of-the-object-store"
pytestmark = pytest.mark.skipif(
    None in [importlib.util.find_spec(name) for name in ("moto", "s3fs", "flask")], reason="needs moto and s3fs"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    served = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    yield f"http://{host}:{port}"
    served.stop()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket; the variables that lead to it are set, and shards are cached below `tmp_path`."""
    import s3fs

    variables = {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "V2V_CACHE": str(tmp_path / "cache"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"v2v-{os.urandom(4).hex()}"
    s3fs.S3FileSystem(use_listings_cache=False).mkdir(name)
    yield name
    s3fs.S3FileSystem.clear_instance_cache()


def _objects(bucket: str) -> dict[str, bytes]:
    import s3fs

    fs = s3fs.S3FileSystem(use_listings_cache=False)
    return {path.removeprefix(f"{bucket}/"): fs.cat_file(path) for path in fs.find(bucket)}


def _digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _files(work: Path) -> dict[str, bytes]:
    return {str(path.relative_to(work)): path.read_bytes() for path in work.rglob("*") if path.is_file()}


def _footage(work: str, video: Path, **options: Any) -> None:
    v2vkit.ingest(work, sources=(video,), clip_frames=16, shard_frames=16, **options)
    v2vkit.make_edges(work, **options)
    v2vkit.extract_flow(work, **options)


@pytest.mark.slow
def test_stages_write_the_bytes_of_a_local_workspace(
    bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = write_file(tmp_path / "a.mp4", moving_frames(30))
    _footage(str(tmp_path / "local"), video, workers=1)
    _footage(f"s3://{bucket}", video, workers=2)
    stored = _objects(bucket)
    assert _digests(stored) == _digests(_files(tmp_path / "local"))
    assert not any(SECRET.encode() in data for data in stored.values())
    assert SECRET not in "".join(capfd.readouterr())


def _train(work: str) -> None:
    v2vkit.train(work, **{**as_plain(SMALL), "stage": "spatial-1", "epochs": 1, "decay": 0.0})


@pytest.mark.slow
def test_training_and_rendering_from_a_store(bucket: str, tmp_path: Path) -> None:
    local = tmp_path / "local"
    make_workspace(local)
    make_workspace(f"s3://{bucket}")  # type: ignore[arg-type]
    for work in (str(local), f"s3://{bucket}"):
        _train(work)
    stored = _objects(bucket)
    model = "checkpoints/spatial-1/model.safetensors"
    assert stored[model] == (local / model).read_bytes()
    assert len(list((tmp_path / "cache/shards").glob("*.tar"))) == 6  # frames, labels and flow of two clips
    v2vkit.render(f"s3://{bucket}", source=f"s3://{bucket}", target=f"{tmp_path}/far/", maps=True, device="cpu")
    v2vkit.render(str(local), source=local, target=f"{tmp_path}/near/", maps=True, device="cpu")
    assert _digests(_files(tmp_path / "far")) == _digests(_files(tmp_path / "near"))
    assert _files(tmp_path / "far")


_RUN = """
import sys
from tests.unit.fake_stage import INVERT, InvertConfig
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
run(INVERT, InvertConfig(waits_at="clip-0002"), RunOptions(work=sys.argv[1], workers=1))
"""


@pytest.mark.slow
def test_a_killed_run_resumes_after_its_finished_shards(bucket: str, tmp_path: Path) -> None:
    far, near = RunOptions(work=f"s3://{bucket}", workers=1), RunOptions(work=str(tmp_path / "w"), workers=1)
    run(SOURCE, SourceConfig(), far)
    process = subprocess.Popen([sys.executable, "-c", _RUN, far.work], cwd=ROOT, env={**os.environ})
    until = time.monotonic() + 120
    while not Folder(f"{far.work}/inverted").exists("shard-00001.index.json"):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "inverted/shard-00002.tar" not in _objects(bucket)
    assert "inverted/manifest.json" not in _objects(bucket)
    run(INVERT, InvertConfig(), far)
    for stage, config in ((SOURCE, SourceConfig()), (INVERT, InvertConfig())):
        run(stage, config, near)
    made, expected = _objects(bucket), _files(tmp_path / "w")
    assert made.keys() == expected.keys()
    for files in (made, expected):
        del files["inverted/manifest.json"]  # tells `waits_at` of the first run
    assert _digests(made) == _digests(expected)


@pytest.mark.slow
def test_an_interrupted_upload_leaves_nothing(bucket: str) -> None:
    folder = Folder(f"s3://{bucket}/frames")

    def interrupted() -> None:
        with ShardWriter(folder, "shard-00000.tar") as writer:
            for t in range(3):
                writer.add(f"clip/{t:06d}", "bin", bytes(30_000_000))  # more than a part of an upload
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert _objects(bucket) == {}


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_a_sentence(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    s3fs.S3FileSystem.clear_instance_cache()
    with raises("network-failed", bucket):
        Folder(f"s3://{bucket}/frames").write("a", b"a")
    with raises("network-failed", bucket):
        Folder(f"s3://{bucket}/frames").exists("a")


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    target.close()


def _drops_first_connections(number: int, server: str) -> str:
    """The address of a network in which so many connections to the server break before there is an answer."""
    host, _, port = server.removeprefix("http://").rpartition(":")
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for count in itertools.count():
            near, _ = listening.accept()
            if count < number:
                near.recv(1)
                near.close()
                continue
            far = socket.create_connection((host, int(port)))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=_forward, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.slow
def test_dropped_requests_are_sent_again(server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    def folder() -> Folder:
        monkeypatch.setenv("AWS_ENDPOINT_URL", _drops_first_connections(3, server))
        s3fs.S3FileSystem.clear_instance_cache()
        return Folder(f"s3://{bucket}/frames")

    folder().write("a", b"whole")
    assert folder().read("a") == b"whole"


@pytest.mark.slow
def test_missing_credentials_are_a_sentence(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with raises("credentials-missing", bucket):
        Folder(f"s3://{bucket}/frames").write("a", b"a")


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with raises("folder-unsupported") as caught:
        Folder("s3://user:hidden@bucket/work")
    assert "hidden" not in str(caught)
    with raises("folder-unsupported") as caught:
        Folder("s3://user:hid/den@bucket/work")
    assert "den" not in str(caught).replace("hidden", "")
    Folder("memory://name/work")


@pytest.mark.parametrize(
    "url", ["s3://bucket/a:b@c", "s3://host:9000/a@b", "hdfs://user@host:8020/a", "s3://[::1]:80/a"]
)
def test_addresses_without_a_password_are_not_refused(url: str) -> None:
    assert _is_accepted(url)
    assert not _is_accepted(url.replace("://", "://user:secret@"))


def _is_accepted(url: str) -> bool:
    try:
        refuse_credentials(url)
    except V2VError:
        return False
    return True
