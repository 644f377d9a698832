"""Rendering in parts: saved states, Ctrl-C, refreshed rollouts and anchored colours."""

import itertools
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.errors import raises
from tests.faces import photo
from tests.hooks import before_forward
from tests.unit.rendering import render, save_untrained
from tests.unit.video_files import read_packets, read_raw, write_file
from v2vkit import load
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_gray, decode_image, encode_png
from v2vkit.checkpoint.model_file import load_model, save_model
from v2vkit.inference.anchor import WINDOW, ColourAnchor
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.session import FADE, Session
from v2vkit.models.generator import Output, VideoGenerator
from v2vkit.models.image_generator import FrameGenerator, ImageGeneratorConfig


def _labels(folder: Path, count: int, *, first: int = 0) -> Path:
    folder.mkdir()
    for t in range(first, first + count):
        ids = np.full((48, 64), t % 12, np.uint8)
        ids[:, 5 * t % 60 :] = 3
        (folder / f"{t:03d}.png").write_bytes(encode_png(ids))
    return folder


def _pictures(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


@pytest.mark.parametrize("settings", [{}, {"refresh": 5}, {"refresh": 5, "anchor_colours": True}])
def test_two_parts_of_a_source_equal_one_go(tmp_path: Path, settings: dict[str, object]) -> None:
    """Stopped in the middle of a cross-fade, too."""
    save_untrained(tmp_path, "street")
    labels, state = _labels(tmp_path / "labels", 9), str(tmp_path / "state")
    render(labels, f"{tmp_path}/whole/", tmp_path, **settings)
    render(labels, f"{tmp_path}/a/", tmp_path, max_frames=6, save_state=state, **settings)
    render(labels, f"{tmp_path}/b/", tmp_path, resume_state=state, **settings)
    assert len(_pictures(tmp_path / "a")) == 6
    assert _pictures(tmp_path / "a") + _pictures(tmp_path / "b") == _pictures(tmp_path / "whole")


def test_a_second_source_continues_the_first_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_untrained(tmp_path, "street")
    state = str(tmp_path / "state")
    render(_labels(tmp_path / "labels", 8), f"{tmp_path}/whole/", tmp_path)
    first, second = _labels(tmp_path / "first", 5), _labels(tmp_path / "second", 3, first=5)
    render(first, f"{tmp_path}/a/", tmp_path, save_state=state)
    capsys.readouterr()
    render(second, f"{tmp_path}/b/", tmp_path, resume_state=state)
    assert str(first) in capsys.readouterr().out, "what is taken as the beginning is named"
    assert _pictures(tmp_path / "a") + _pictures(tmp_path / "b") == _pictures(tmp_path / "whole")
    render(second, f"{tmp_path}/alone/", tmp_path)
    assert _pictures(tmp_path / "alone") != _pictures(tmp_path / "b"), "the history matters"


def test_parts_of_a_video_have_its_frames_and_its_sound(tmp_path: Path) -> None:
    """Smoothing looks across the joint; sound and time stamps of the second part begin at zero."""
    pytest.importorskip("mediapipe")
    save_untrained(tmp_path, "face")
    faces = [photo(200, 240, dx=3 * t) for t in range(20)]
    source = write_file(tmp_path / "in.mp4", faces, rate=Fraction(25), audio="aac")
    state = str(tmp_path / "state")
    render(source, tmp_path / "whole.mkv", tmp_path, crf=0)
    render(source, tmp_path / "a.mkv", tmp_path, crf=0, max_frames=12, save_state=state)
    render(source, tmp_path / "b.mkv", tmp_path, crf=0, resume_state=state)
    whole, a, b = (read_raw(tmp_path / f"{name}.mkv") for name in ("whole", "a", "b"))
    assert (len(a[0]), len(b[0])) == (12, 8)
    np.testing.assert_array_equal(np.array(a[0] + b[0]), np.array(whole[0]))
    assert b[1] == [Fraction(t, 25) for t in range(8)], "the second part begins at zero"
    sound = [read_packets(tmp_path / f"{name}.mkv") for name in ("a", "b")]
    assert sound[0] + sound[1] == read_packets(source)
    assert len(sound[0]) == pytest.approx(len(read_packets(source)) / 2, abs=3)


def test_a_state_is_only_for_its_model_and_settings(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    labels, state = _labels(tmp_path / "labels", 4), tmp_path / "state"
    render(labels, f"{tmp_path}/a/", tmp_path, max_frames=2, save_state=str(state))
    target = f"{tmp_path}/b/"
    with raises("state-mismatch", "--refresh", "3"):
        render(labels, target, tmp_path, resume_state=str(state), refresh=3)
    with raises("state-missing", "nowhere"):
        render(labels, target, tmp_path, resume_state=str(tmp_path / "nowhere"))
    save_untrained(tmp_path, "street", steps=7)
    with raises("state-mismatch", str(state)):
        render(labels, target, tmp_path, resume_state=str(state))


def test_nothing_is_left_of_a_source_that_was_rendered_whole(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    labels, state = _labels(tmp_path / "labels", 4), str(tmp_path / "state")
    render(labels, f"{tmp_path}/a/", tmp_path, save_state=state)
    with raises("frames-missing", str(labels), "4"):
        render(labels, f"{tmp_path}/b/", tmp_path, resume_state=state)


@pytest.mark.parametrize("damage", ["text", "cut", "shape", "nan", "header", "name", "fade"])
def test_a_damaged_state_is_refused(tmp_path: Path, damage: str) -> None:
    save_untrained(tmp_path, "street")
    labels, state = _labels(tmp_path / "labels", 4), tmp_path / "state"
    render(labels, f"{tmp_path}/a/", tmp_path, max_frames=2, save_state=str(state))
    data, tensors = state.read_bytes(), load_file(state)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    if damage == "text":
        state.write_bytes(b"not a state")
    elif damage == "cut":
        state.write_bytes(data[:-8])
    elif damage == "header":
        save_file(tensors, state)
    elif damage == "name":
        save_file(tensors | {"0.source.last": torch.zeros(1)}, state, metadata=header)
    elif damage == "fade":
        (key, text), *_ = header.items()
        described = json.loads(text)
        described["rollouts"] *= 2
        save_file(tensors, state, metadata={key: json.dumps(described)})
    else:
        history = tensors["0.history.0"]
        tensors["0.history.0"] = history[..., 1:].contiguous() if damage == "shape" else history * float("nan")
        save_file(tensors, state, metadata=header)
    with raises("state-damaged", str(state)):
        render(labels, f"{tmp_path}/b/", tmp_path, resume_state=str(state))


@contextmanager
def _ctrl_c(*, frame: int, times: int = 1) -> Iterator[None]:
    """Sends Ctrl-C to this process before a frame, counted from 0, is generated."""
    count = itertools.count(-1)  # the first pass only finds out whether the memory suffices

    def interrupt() -> None:
        if next(count) == frame:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    with before_forward(VideoGenerator, interrupt):
        yield


@pytest.mark.parametrize("name", ["out.mp4", "out/"])
def test_ctrl_c_leaves_what_was_rendered(tmp_path: Path, name: str) -> None:
    save_untrained(tmp_path, "street")
    labels, state, target = _labels(tmp_path / "labels", 9), str(tmp_path / "state"), f"{tmp_path}/{name}"
    handler = signal.getsignal(signal.SIGINT)
    with _ctrl_c(frame=4):
        problems = render(labels, target, tmp_path, save_state=state)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(problems) == 1
    assert "5 frames" in problems[0]
    count = len(_pictures(Path(target))) if name == "out/" else len(read_raw(Path(target))[0])
    assert count == 5
    render(labels, f"{tmp_path}/rest/", tmp_path, resume_state=state)
    assert len(_pictures(tmp_path / "rest")) == 4


def test_a_second_ctrl_c_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    labels, target = _labels(tmp_path / "labels", 9), tmp_path / "out.mp4"
    with _ctrl_c(frame=3, times=2), pytest.raises(KeyboardInterrupt):
        render(labels, target, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"labels", "checkpoints"}


def test_rendering_works_in_a_thread(tmp_path: Path) -> None:
    """Where signals cannot be handled."""
    save_untrained(tmp_path, "street")
    labels = _labels(tmp_path / "labels", 3)
    thread = threading.Thread(target=render, args=(labels, f"{tmp_path}/out/", tmp_path))
    thread.start()
    thread.join()
    assert len(_pictures(tmp_path / "out")) == 3


def _frames(count: int, seed: int = 0) -> list[ConditionedFrame]:
    maps = np.random.default_rng(seed).random((count, 13, 48, 64)).astype(np.float32)
    return [ConditionedFrame(s) for s in maps]


def test_a_refreshed_rollout_starts_from_nothing(tmp_path: Path) -> None:
    """After the fade the frames are those of a rollout that began at the refresh; within, they lie between."""
    save_untrained(tmp_path, "street")
    generator, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    frames = _frames(30)
    old, fresh = Session(generator), Session(generator)
    plain = [old.step(frame).astype(int) for frame in frames]
    again = [fresh.step(frame).astype(int) for frame in frames[20:]]
    session = Session(generator, refresh=20)
    refreshed = [session.step(frame).astype(int) for frame in frames]
    np.testing.assert_array_equal(refreshed[:20], plain[:20])
    np.testing.assert_array_equal(refreshed[20 + FADE :], again[FADE:])
    for t in range(FADE):
        low, high = np.minimum(plain[20 + t], again[t]), np.maximum(plain[20 + t], again[t])
        assert ((refreshed[20 + t] >= low) & (refreshed[20 + t] <= high)).all()
    assert len(session.rollouts) == 1


def test_a_settled_rollout_begins_with_its_first_frame_as_past(tmp_path: Path) -> None:
    """At every shot and every refresh: its frames are those after the repeated ones of a rollout that shows them."""
    save_untrained(tmp_path, "street")
    generator, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    frames = _frames(24)
    shots = [replace(frame, frame=replace(frame.frame, shot=t // 12)) for t, frame in enumerate(frames)]

    def after(number: int, rest: list[ConditionedFrame]) -> list[np.ndarray]:
        session = Session(generator)
        return [session.step(frame) for frame in (*rest[:1] * number, *rest)][number:]

    session = Session(generator, settle=3, anchor_colours=True)
    images = [session.step(frame) for frame in shots]
    np.testing.assert_array_equal(images, [*after(3, frames[:12]), *after(3, frames[12:])])
    assert not np.array_equal(images[0], after(0, frames)[0])
    assert session.rollouts[0].anchor is not None
    assert session.rollouts[0].anchor.num_frames == 12
    session = Session(generator, settle=3, refresh=12)
    refreshed = [session.step(frame) for frame in frames]
    np.testing.assert_array_equal(refreshed[-1], after(3, frames[12:])[-1])


def test_every_way_to_render_settles_alike(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    labels = _labels(tmp_path / "labels", 4, first=5)
    (tmp_path / "settled").mkdir()
    render(labels, tmp_path / "settled", tmp_path, settle=2)
    written = [decode_image(path.read_bytes()) for path in sorted((tmp_path / "settled").glob("*.png"))]
    maps = [decode_gray(path.read_bytes()) for path in sorted(labels.glob("*.png"))]
    np.testing.assert_array_equal(written, list(load(tmp_path, settle=2).generate(maps)))
    np.testing.assert_array_equal(written, list(load(tmp_path, settle=2).render(labels)))
    assert not np.array_equal(written[0], next(load(tmp_path).generate(maps)))
    save_untrained(tmp_path, "street", first_frame="real")
    with raises("setting-unused", "--settle", "begins from given frames"):
        load(tmp_path, settle=2)


def test_a_model_without_history_needs_no_refresh(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "street")
    config = ImageGeneratorConfig(in_channels=info.conditioning.num_channels, width=8, num_down=2, num_blocks=1)
    info = save_untrained(tmp_path, "street", network=config, method="pix2pixhd")
    save_model(Folder(f"{tmp_path}/checkpoints/spatial-1"), FrameGenerator(config).state_dict(), info)
    labels = _labels(tmp_path / "labels", 3)
    for name, why in (("refresh", "from nothing"), ("settle", "sees none")):
        with raises("setting-unused", f"--{name}", why):
            render(labels, tmp_path / "out.mp4", tmp_path, **{name: 5})


def _output(x: torch.Tensor) -> list[Output]:
    return [Output(x, h=x, flow=None, mask=None, warped=None)]


def test_anchored_colours_return_to_the_beginning() -> None:
    """Against a generator that makes its own last frame a little darker and flatter, as drift does."""
    x = torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.1
    free, held, anchor = x.clone(), x.clone(), ColourAnchor()
    for _ in range(600):
        free = free * 0.999 - 0.001
        held = anchor.correct(_output(held * 0.999 - 0.001))[0].x_fake
    wanted = anchor.reference
    assert wanted is not None
    errors = [float((y.mean((0, 2, 3)) - wanted[0]).abs().max()) for y in (free, held)]
    assert errors[1] < 0.1 * errors[0]
    spreads = [float((y.std((0, 2, 3)) / wanted[1] - 1).abs().max()) for y in (free, held)]
    assert spreads[1] < 0.2 * spreads[0]


def test_fast_changes_are_not_anchored() -> None:
    anchor, x = ColourAnchor(), torch.zeros(1, 3, 8, 8)
    x[..., ::2] = 0.5
    for _ in range(WINDOW + 5):
        anchor.correct(_output(x))
    flash = anchor.correct(_output(x * 0.2))[0].x_fake
    assert float((flash - x * 0.2).abs().max()) < 0.05


def test_a_frame_without_contrast_can_be_anchored() -> None:
    anchor = ColourAnchor()
    for _ in range(3 * WINDOW):
        (output,) = anchor.correct(_output(torch.zeros(1, 3, 8, 8)))
    assert bool(output.x_fake.isfinite().all())


def test_the_second_part_keeps_the_names_of_its_frames(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    labels, state = _labels(tmp_path / "labels", 5), str(tmp_path / "state")
    render(labels, f"{tmp_path}/a/", tmp_path, keep_names=True, max_frames=3, save_state=state)
    render(labels, f"{tmp_path}/b/", tmp_path, keep_names=True, resume_state=state)
    names = [sorted(path.name for path in (tmp_path / part).glob("*.png")) for part in ("a", "b")]
    assert names == [["000.png", "001.png", "002.png"], ["003.png", "004.png"]]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "file-required"),
        ("out.mp4", "setting-conflict"),
        ("labels/000.png", "format-unsupported"),
        ("labels/000.png/state", "folder-required"),
    ],
)
def test_a_state_that_cannot_be_written_is_refused_before_rendering(tmp_path: Path, name: str, code: str) -> None:
    save_untrained(tmp_path, "street")
    labels = _labels(tmp_path / "labels", 2)
    with raises(code):
        render(labels, tmp_path / "out.mp4", tmp_path, save_state=f"{tmp_path}/{name}")
    assert not (tmp_path / "out.mp4").exists()
    assert (tmp_path / "labels/000.png").read_bytes().startswith(b"\x89PNG")


def test_the_rest_does_not_replace_the_first_part(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    labels, state = _labels(tmp_path / "labels", 4), str(tmp_path / "state")
    render(labels, tmp_path / "a.mp4", tmp_path, max_frames=2, save_state=state)
    first = (tmp_path / "a.mp4").read_bytes()
    with raises("target-exists", "a.mp4", "--resume-state"):
        render(labels, tmp_path / "a.mp4", tmp_path, resume_state=state)
    assert (tmp_path / "a.mp4").read_bytes() == first
