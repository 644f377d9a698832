"""The server of a preference study: many raters at once, kills, and requests that nobody should send."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.errors import raises
from tests.unit.study_data import answer, make_study, plain_key
from v2vkit.cli.main import cli
from v2vkit.errors import V2VError
from v2vkit.evaluation.study.answers import AnswerLog, parse_answer, read_answers
from v2vkit.evaluation.study.key import Key
from v2vkit.evaluation.study.server import MAX_BODY, StudyServer, byte_range

ROOT = Path(__file__).resolve().parents[2]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Key]:
    folder = tmp_path_factory.mktemp("made")
    key = make_study(folder)
    return folder / "study", key


@pytest.fixture
def served(made: tuple[Path, Key]) -> Iterator[StudyServer]:
    (made[0] / "answers.jsonl").unlink(missing_ok=True)
    server = StudyServer(made[0])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def _post(port: int, said: Any) -> int:
    body = said if isinstance(said, bytes) else said.model_dump_json().encode()
    return _ask(port, "POST", "/api/answers", body, JSON)[0]


def _raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_it_listens_on_loopback_alone(served: StudyServer) -> None:
    assert served.server_address[0] == "127.0.0.1"


def test_the_page_and_its_files_are_served(served: StudyServer, made: tuple[Path, Key]) -> None:
    public = made[0] / "public"
    for path, name in (("/", "index.html"), ("/study.js", "study.js"), ("/study.css?x=1", "study.css")):
        status, headers, body = _ask(served.server_port, "GET", path)
        assert (status, body) == (200, (public / name).read_bytes())
        assert headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
    clip = f"/clips/{made[1].trials[0].left.id}.mp4"
    status, headers, body = _ask(served.server_port, "HEAD", clip)
    assert (status, headers["Content-Type"], body) == (200, "video/mp4", b"")
    assert int(headers["Content-Length"]) == (public / clip[1:]).stat().st_size


@pytest.mark.parametrize(
    "path",
    [
        "/key.json",
        "/../key.json",
        "/clips/../../key.json",
        "/clips/%2e%2e/%2e%2e/key.json",
        "/..%2fkey.json",
        "//etc/passwd",
        "/clips/",
        "/clips",
        "/answers.jsonl",
        "/clips/0000000000000000.mp4",
        "/index.html/",
        "/clips/..%5c..%5ckey.json",
        "http://[",
        "*",
    ],
)
def test_nothing_but_the_page_can_be_fetched(served: StudyServer, path: str) -> None:
    reply = _raw(served.server_port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 404")
    assert b"methods" not in reply


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-500", (90, 100)),
        ("bytes=-30", (70, 100)),
        ("bytes=-300", (0, 100)),
        ("bytes=100-", (100, 100)),
        ("bytes=-0", (100, 100)),
        ("bytes=20-10", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=" + "9" * 400 + "-", None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == expected


def test_browsers_can_seek(served: StudyServer, made: tuple[Path, Key]) -> None:
    clip = f"/clips/{made[1].trials[0].left.id}.mp4"
    whole = (made[0] / "public" / clip[1:]).read_bytes()
    status, headers, body = _ask(served.server_port, "GET", clip, headers={"Range": "bytes=100-199"})
    assert (status, headers["Content-Range"], body) == (206, f"bytes 100-199/{len(whole)}", whole[100:200])
    status, headers, body = _ask(served.server_port, "GET", clip, headers={"Range": f"bytes={len(whole)}-"})
    assert (status, headers["Content-Range"], body) == (416, f"bytes */{len(whole)}", b"")


def test_many_raters_at_once_lose_nothing(served: StudyServer, made: tuple[Path, Key]) -> None:
    key = made[1]
    said = [answer(key, trial, f"rater-{n}", trial.left.method) for n in range(60) for trial in key.trials]
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda one: _post(served.server_port, one), said))
    assert statuses == [201] * len(said)
    lines = (made[0] / "answers.jsonl").read_bytes().splitlines()
    assert sorted(lines) == sorted(one.model_dump_json().encode() for one in said)


def test_an_answer_sent_again_is_kept_once(served: StudyServer, made: tuple[Path, Key]) -> None:
    said = answer(made[1], made[1].trials[0], "anna", made[1].trials[0].left.method)
    assert [_post(served.server_port, said) for _ in range(3)] == [201, 200, 200]
    assert len((made[0] / "answers.jsonl").read_text().splitlines()) == 1


def test_a_rater_learns_what_was_answered(served: StudyServer, made: tuple[Path, Key]) -> None:
    trial = made[1].trials[1]
    _post(served.server_port, answer(made[1], trial, "anna", trial.left.method))
    for rater, expected in (("anna", [trial.id]), ("ben", [])):
        status, _, body = _ask(served.server_port, "GET", f"/api/answers?rater={rater}")
        assert (status, json.loads(body)) == (200, {"answered": expected})
    for query in ("", "?rater=", "?rater=../x", "?rater=a&rater=b", "?rater=" + "a" * 65):
        assert _ask(served.server_port, "GET", f"/api/answers{query}")[0] == 400


@pytest.mark.parametrize(
    "change",
    [
        {"study": "0" * 16},
        {"trial": "0" * 16},
        {"left": "0" * 16},
        {"choice": "both"},
        {"rater": "a b"},
        {"rater": "a\n"},
        {"rater": "../x"},
        {"rater": "a" * 65},
        {"seconds": -1},
        {"seconds": "NaN"},
        {"more": 1},
    ],
)
def test_invalid_answers_are_refused(served: StudyServer, made: tuple[Path, Key], change: dict[str, Any]) -> None:
    trial = made[1].trials[0]
    said = answer(made[1], trial, "anna", trial.left.method).model_dump() | change
    assert _post(served.server_port, json.dumps(said).encode()) == 400
    assert (made[0] / "answers.jsonl").read_bytes() == b""


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * MAX_BODY, b'{"study": NaN}'])
def test_text_that_is_not_json_is_refused(served: StudyServer, body: bytes) -> None:
    assert _post(served.server_port, body) == 400


def test_requests_that_no_page_of_ours_sends_are_refused(served: StudyServer, made: tuple[Path, Key]) -> None:
    port, trial = served.server_port, made[1].trials[0]
    good = answer(made[1], trial, "anna", trial.left.method).model_dump_json().encode()
    assert _ask(port, "POST", "/api/answers", b"x" * (MAX_BODY + 1), JSON)[0] == 413
    assert _ask(port, "POST", "/api/answers", good, {"Content-Type": "text/plain"})[0] == 415
    assert _ask(port, "POST", "/api/study", good, JSON)[0] == 404
    assert _ask(port, "POST", "/", good, JSON)[0] == 404
    assert _ask(port, "PUT", "/index.html", good, JSON)[0] == 501
    assert _ask(port, "DELETE", "/index.html")[0] == 501
    head = b"POST /api/answers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for length in (b"", b"Content-Length: -5\r\n", b"Content-Length: 1_0\r\n", b"Transfer-Encoding: chunked\r\n"):
        assert _raw(port, head + length + b"\r\n" + good).startswith(b"HTTP/1.1 411")
    assert _raw(port, head + b"Content-Length: 999999999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert _raw(port, head + b"Content-Length: 400\r\n\r\n{").startswith(b"HTTP/1.1 400")  # hung up half-way
    assert (made[0] / "answers.jsonl").read_bytes() == b""
    assert _post(port, good) == 201  # and it still works


def test_a_full_disk_is_told_and_the_answer_can_be_sent_again(
    served: StudyServer, made: tuple[Path, Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = made[1].trials[0]
    said = answer(made[1], trial, "anna", trial.left.method)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:20]))
    assert _post(served.server_port, said) == 503
    monkeypatch.undo()
    assert _post(served.server_port, said) == 201
    found = read_answers(made[0], made[1])
    assert (found.answers, found.num_unusable) == ((said,), 1)


def test_an_answer_is_on_the_disk_before_it_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = plain_key(2)
    log, synced = AnswerLog(tmp_path, key), list[bytes]()
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((tmp_path / "answers.jsonl").read_bytes()))
    said = answer(key, key.trials[0], "anna", key.trials[0].left.method)
    log.add(said)
    log.close()
    assert synced == [said.model_dump_json().encode() + b"\n"]


def test_a_log_that_a_kill_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    key = plain_key(3)
    said = [answer(key, trial, "anna", trial.left.method) for trial in key.trials]
    log = AnswerLog(tmp_path, key)
    log.add(said[0])
    log.close()
    with (tmp_path / "answers.jsonl").open("ab") as file:
        file.write(said[1].model_dump_json().encode()[:50])
    log = AnswerLog(tmp_path, key)
    assert log.answered("anna") == [said[0].trial]
    assert [log.add(one) for one in said] == [False, True, True, True]
    log.close()
    found = read_answers(tmp_path, key)
    assert (set(found.answers), found.num_unusable) == (set(said), 1)


def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    key = plain_key(2)
    log = AnswerLog(tmp_path, key, max_answers=2)
    said = [answer(key, key.trials[0], rater, key.trials[0].left.method) for rater in "abc"]
    assert [log.add(one) for one in said[:2]] == [True, True]
    with pytest.raises(OSError, match="full"):
        log.add(said[2])
    log.close()


def test_parsing_takes_bytes_and_decoded_json() -> None:
    key = plain_key(1)
    said = answer(key, key.trials[0], "anna", key.trials[0].left.method)
    assert parse_answer(said.model_dump_json().encode(), key) == parse_answer(said.model_dump(), key) == said


@pytest.mark.slow
def test_killed_while_it_collects_it_has_every_acknowledged_answer(made: tuple[Path, Key]) -> None:
    folder, key = made
    (folder / "answers.jsonl").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "v2vkit", "study", "--serve", str(folder), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        port, kept, lock = int(url.rsplit(":", 1)[1].strip("/")), list[tuple[str, str]](), threading.Lock()

        def rater(name: str) -> None:
            for round_ in range(50):
                for trial in key.trials:
                    said = answer(key, trial, f"{name}-{round_}", trial.left.method)
                    try:
                        status = _post(port, said)
                    except (OSError, http.client.HTTPException):
                        return
                    with lock:
                        kept.extend([(said.rater, said.trial)] * (status == 201))
                        if len(kept) == 60:
                            process.kill()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(rater, "abcdefgh"))
    finally:
        process.kill()
        process.wait()
    assert len(kept) >= 60
    there = {(said.rater, said.trial) for said in read_answers(folder, key).answers}
    assert set(kept) <= there
    again = StudyServer(folder)
    assert all(trial in again.log.answered(name) for name, trial in kept)
    again.server_close()


def test_ctrl_c_ends_it_with_a_count(made: tuple[Path, Key]) -> None:
    folder, key = made
    (folder / "answers.jsonl").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "v2vkit", "study", str(folder), "--serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + "api/study", timeout=600) as reply:
            assert json.load(reply) == {"study": key.study}
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=800)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert "0 answers of 0 raters" in out
    assert "Traceback" not in err


def test_a_port_that_is_taken_and_a_study_that_is_not_whole_are_told(
    served: StudyServer, made: tuple[Path, Key]
) -> None:
    result = CliRunner().invoke(cli, ["study", "--serve", str(made[0]), "--port", str(served.server_port)])
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "port-unavailable"
    assert str(served.server_port) in str(result.exception)
    clip = made[0] / "public" / "clips" / f"{made[1].trials[0].left.id}.mp4"
    content = clip.read_bytes()
    clip.unlink()
    with raises("study-damaged", clip.name):
        StudyServer(made[0])
    clip.write_bytes(content)
