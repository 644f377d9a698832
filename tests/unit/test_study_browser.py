"""Whole sessions in a real headless Chromium: served and resumed, and static with a download at the end."""

import functools
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from tests.unit.study_data import make_study
from tests.unit.webdriver import LEFT, RIGHT, Browser, browser, needs_chromium
from v2vkit.evaluation.study.answers import read_answers
from v2vkit.evaluation.study.key import Key
from v2vkit.evaluation.study.server import StudyServer
from v2vkit.evaluation.study.tally import tally

pytestmark = [needs_chromium, pytest.mark.slow]
OPEN = "!document.getElementById('choose-left').disabled"
READY = "!document.getElementById('start').disabled"
DONE = "Number(document.getElementById('bar').getAttribute('aria-valuenow'))"
SAVED = "document.getElementById('saved').textContent"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Key]:
    folder = tmp_path_factory.mktemp("made")
    key = make_study(folder, num_clips=5)
    return folder / "study", key


@contextmanager
def running(server: http.server.ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _begin(page: Browser, url: str) -> None:
    page.open(url)
    page.until(READY)
    page.click("#start")


def test_a_session_with_the_server_is_resumed_and_counted(made: tuple[Path, Key], tmp_path: Path) -> None:
    folder, key = made
    number = len(key.trials)
    (folder / "answers.jsonl").unlink(missing_ok=True)
    with running(StudyServer(folder)) as url, browser(tmp_path) as page:
        _begin(page, url)
        page.press(LEFT)  # before both have played: nothing
        page.until(OPEN)
        assert page.run(f"return {DONE}") == 0
        pair = page.run("return current.videos.map((v) => [v.muted, v.videoWidth, v.videoHeight, v.currentTime])")
        assert [video[:3] for video in pair] == [[True, 64, 48]] * 2
        for count, key_press in enumerate((LEFT, RIGHT, "1"), start=1):
            page.until(OPEN)
            page.press(key_press)
            page.until(f"{DONE} === {count}")
        page.until("Object.keys(state.sent).length === 3")
        said = read_answers(folder, key).answers
        assert [one.choice for one in said] == ["left", "right", "left"]

        page.open(url)  # closed and opened again
        page.until(READY)
        assert page.run("return document.getElementById('start').textContent") == "Continue"
        assert page.run(f"return {DONE}") == 3

        # Another browser, or a cleared one: the server knows what a named rater has answered.
        page.run("localStorage.clear()")
        page.open(f"{url}?rater={said[0].rater}")
        page.until(READY)
        assert page.run(f"return {DONE}") == 3
        page.click("#start")
        for count in range(4, number + 1):
            page.until(OPEN)
            page.press("2")
            page.until(f"{DONE} === {count}")
        assert "All answers are saved" in page.until(SAVED)
        page.until("document.getElementById('download').hidden")
        assert page.errors() == []
    found = read_answers(folder, key)
    assert {one.trial for one in found.answers} == {trial.id for trial in key.trials}
    assert {one.rater for one in found.answers} == {said[0].rater}
    assert (found.num_unusable, found.num_doubled) == (0, 0)
    assert tally(key, found, max_failed=1.0).pairs[0].shares[0].num == 5


def test_answers_given_while_the_server_is_away_are_sent_later(made: tuple[Path, Key], tmp_path: Path) -> None:
    folder, key = made
    (folder / "answers.jsonl").unlink(missing_ok=True)
    with browser(tmp_path) as page, running(StudyServer(folder)) as url:
        _begin(page, url)
        page.until(OPEN)
        # What a server that is down does to the page; its clips go on playing.
        page.run("window.realFetch = fetch; window.fetch = () => Promise.reject(new TypeError('away'))")
        page.press(LEFT)
        assert "kept in this browser" in page.until("document.getElementById('problem').textContent")
        assert read_answers(folder, key).answers == ()
        page.run("window.fetch = window.realFetch")
        page.until("Object.keys(state.sent).length === 1")
        page.until("document.getElementById('problem').hidden")
        assert len(read_answers(folder, key).answers) == 1


def test_a_static_session_by_touch_ends_with_a_download(made: tuple[Path, Key], tmp_path: Path) -> None:
    folder, key = made

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder / "public"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with running(server) as url, browser(tmp_path, size=(500, 900)) as page:
        _begin(page, url)
        for count in range(1, len(key.trials) + 1):
            page.until(OPEN)
            page.touch("#pair video:last-child" if count % 2 else "#choose-left")
            page.until(f"{DONE} === {count}")
        assert "download your answers" in page.until(SAVED)
        page.click("#download")
        end = time.monotonic() + 600
        while not (files := list(tmp_path.glob("answers-*.json"))) and time.monotonic() < end:
            time.sleep(0.05)
        assert page.errors() == []
    content = json.loads(files[0].read_text())
    assert content["study"] == key.study
    assert {one["choice"] for one in content["answers"]} == {"left", "right"}
    (folder / "answers").mkdir()
    (folder / "answers" / files[0].name).write_text(files[0].read_text())
    (folder / "answers.jsonl").unlink(missing_ok=True)
    found = read_answers(folder, key)
    assert len(found.answers) == len(key.trials)
    assert found.num_unusable == 0


def test_opened_as_a_file_it_works_without_any_server(made: tuple[Path, Key], tmp_path: Path) -> None:
    with browser(tmp_path) as page:
        _begin(page, (made[0] / "public" / "index.html").as_uri())
        page.until(OPEN)
        page.press(RIGHT)
        page.until(f"{DONE} === 1")
        assert page.errors() == []


def test_replay_starts_both_together_and_they_loop(made: tuple[Path, Key], tmp_path: Path) -> None:
    with running(StudyServer(made[0])) as url, browser(tmp_path) as page:
        _begin(page, url)
        page.until(OPEN)
        page.run(
            "window.starts = [0, 0]; current.videos.forEach((v, i) => v.addEventListener('play', () => starts[i]++))"
        )
        page.until("starts[0] >= 2 && starts[1] >= 2")  # by themselves
        page.press("r")
        assert page.until("starts[0] >= 3 && starts[0] === starts[1]")
        assert page.errors() == []


def test_raters_see_other_orders_and_half_of_them_mirrored_sides(made: tuple[Path, Key], tmp_path: Path) -> None:
    _, key = made
    with browser(tmp_path) as page:
        page.open((made[0] / "public" / "index.html").as_uri())
        page.until(READY)
        sessions = page.run("return Array.from({length: 200}, (_, n) => session(`rater${n}`))")
    ids = {trial.id for trial in key.trials}
    assert all({trial["id"] for trial in one} == ids for one in sessions)
    left = {trial.id: trial.left.id for trial in key.trials}
    mirrored = [one[0]["left"] != left[one[0]["id"]] for one in sessions]
    assert all(
        all((trial["left"] != left[trial["id"]]) == mirror for trial in one)
        for one, mirror in zip(sessions, mirrored, strict=True)
    )
    assert 70 < sum(mirrored) < 130
    firsts = [one[0]["id"] for one in sessions]
    assert all(firsts.count(trial) > 10 for trial in ids)
    orders = {tuple(trial["id"] for trial in one) for one in sessions}
    assert len(orders) == 2 * len(ids)
