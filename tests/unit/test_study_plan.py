"""Pairs, order, positions and attention checks of a preference study, and what its public folder gives away."""

import json
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.errors import raises
from tests.unit.study_data import FPS, make_study, plain_key, write_clips
from tests.unit.video_files import moving_frames, write_file
from v2vkit.cli.main import cli
from v2vkit.errors import V2VError
from v2vkit.evaluation.study.build import degrade, write_study
from v2vkit.evaluation.study.key import read_key
from v2vkit.evaluation.study.pairing import find_clips, find_real, method_names
from v2vkit.evaluation.study.plan import num_checks, plan_trials
from v2vkit.video.encode import write_video
from v2vkit.video.probe import probe

NAMES = [f"c{number}" for number in range(20)]


@pytest.mark.parametrize("number", [1, 6, 7, 8, 13, 14, 15, 100])
def test_at_least_one_trial_in_eight_is_a_check(number: int) -> None:
    checks = num_checks(number, 8)
    assert checks * 8 >= number + checks
    assert checks == 1 or (checks - 1) * 8 < number + checks - 1  # and no more than needed


def test_the_seed_alone_decides_the_trials() -> None:
    plans = [plan_trials(NAMES, ["a", "b"], seed=seed) for seed in ("1", "1", "2")]
    assert plans[0] == plans[1]
    assert plans[0].study != plans[2].study
    assert [t.clip for t in plans[0].trials] != [t.clip for t in plans[2].trials]


def test_every_pair_of_methods_meets_once_on_every_clip_and_sides_are_balanced() -> None:
    trials = [t for t in plan_trials(NAMES, ["a", "b", "c"]).trials if t.kind == "compare"]
    met = Counter((t.clip, frozenset((t.left.method, t.right.method))) for t in trials)
    assert len(met) == 60
    assert set(met.values()) == {1}
    for pair in ("ab", "ac", "bc"):
        left = [t.left.method for t in trials if {t.left.method, t.right.method} == set(pair)]
        assert left.count(pair[0]) == 10


def test_no_id_is_used_twice() -> None:
    trials = plan_trials(NAMES, ["a", "b", "c"], real_clips=["r"]).trials
    ids = [some for t in trials for some in (t.id, t.left.id, t.right.id)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("real", [True, False])
def test_checks_are_spread_over_the_cycle(real: bool) -> None:
    """A rater who stops after a third of the trials has met some, wherever in the cycle the start was."""
    trials = plan_trials(NAMES, ["a", "b"], real_clips=["r", "s"] if real else (), check_every=5).trials
    checks = [index for index, t in enumerate(trials) if t.kind != "compare"]
    assert len(checks) == 5
    gaps = np.diff([*checks, checks[0] + len(trials)])
    assert gaps.max() <= 10


def test_a_real_check_shows_the_real_clip_against_its_degraded_copy_on_both_sides() -> None:
    checks = [
        t for t in plan_trials(NAMES, ["a", "b"], real_clips=["r", "s"], check_every=3).trials if t.kind == "real"
    ]
    assert all({t.left.method, t.right.method} == {"real", "degraded"} for t in checks)
    assert Counter(t.left.method for t in checks) == {"real": 5, "degraded": 5}
    assert Counter(t.clip for t in checks) == {"r": 5, "s": 5}


def test_a_repeated_pair_is_swapped_and_far_from_its_first_showing() -> None:
    trials = plan_trials(NAMES, ["a", "b"]).trials
    place = {t.id: index for index, t in enumerate(trials)}
    repeats = [t for t in trials if t.kind == "repeat"]
    assert len(repeats) == 3
    for t in repeats:
        assert t.repeats is not None
        first = trials[place[t.repeats]]
        assert (t.clip, t.left.method, t.right.method) == (first.clip, first.right.method, first.left.method)
        apart = abs(place[t.id] - place[first.id])
        assert min(apart, len(trials) - apart) >= 7


def test_clips_are_paired_by_name_and_others_are_named(tmp_path: Path) -> None:
    a, b = write_clips(tmp_path / "a", ["x", "y", "z"]), write_clips(tmp_path / "b", ["y", "x", "w"])
    found = find_clips({"a": str(a), "b": str(b)}, fps=FPS)
    clips = found.clips
    assert [clip.name for clip in clips] == ["x", "y"]
    assert [Path(clip.sources["b"].path).name for clip in clips] == ["x.mp4", "y.mp4"]
    assert [note.split(": ")[1].split()[0] for note in found.left_out] == ["z", "w"]


def test_two_single_videos_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    a, b = write_clips(tmp_path / "a", ["x"]), write_clips(tmp_path / "b", ["y"])
    found = find_clips({"a": str(a / "x.mp4"), "b": str(b / "y.mp4")}, fps=FPS)
    assert [clip.name for clip in found.clips] == ["x"]
    assert found.left_out == ()
    with raises("clips-mismatch", "x", "y"):  # folders that happen to hold one
        find_clips({"a": str(a), "b": str(b)}, fps=FPS)


def test_folders_without_a_common_name_are_refused(tmp_path: Path) -> None:
    a, b = write_clips(tmp_path / "a", ["x", "y"]), write_clips(tmp_path / "b", ["z"])
    with raises("clips-mismatch", "x", "z"):
        find_clips({"a": str(a), "b": str(b)}, fps=FPS)


@pytest.mark.parametrize(
    ("other", "code", "names"),
    [
        ({"width": 80}, "size-mismatch", ["64x48", "80x48"]),
        ({"count": 8}, "frame-count-mismatch", ["6 frames of a", "8 frames of b", "--trim"]),
    ],
)
def test_pairs_that_cannot_stand_side_by_side_are_refused(
    tmp_path: Path, other: dict[str, int], code: str, names: list[str]
) -> None:
    a, b = write_clips(tmp_path / "a", ["x"]), write_clips(tmp_path / "b", ["x"], **other)
    with raises(code, *names):
        find_clips({"a": str(a), "b": str(b)}, fps=FPS)


def test_other_rates_are_refused(tmp_path: Path) -> None:
    a = write_clips(tmp_path / "a", ["x"])
    (tmp_path / "b").mkdir()
    write_video(tmp_path / "b" / "x.mp4", moving_frames(6), fps=Fraction(24))
    with raises("frame-rate-mismatch", "25", "24"):
        find_clips({"a": str(a), "b": str(tmp_path / "b")}, fps=FPS)


def test_a_variable_rate_is_refused(tmp_path: Path) -> None:
    a = write_clips(tmp_path / "a", ["x"])
    (tmp_path / "b").mkdir()
    stamps = [0, 1, 2, 5, 6, 9]
    write_file(tmp_path / "b" / "x.mp4", moving_frames(6), stamps=stamps, time_base=Fraction(1, 25))
    with raises("frame-rate-variable", "x.mp4"):
        find_clips({"a": str(a), "b": str(tmp_path / "b")}, fps=FPS)


@pytest.mark.parametrize(("count", "trim"), [(7, False), (9, True)])
def test_a_longer_clip_is_cut_and_this_is_told(tmp_path: Path, count: int, trim: bool) -> None:
    a, b = write_clips(tmp_path / "a", ["x"]), write_clips(tmp_path / "b", ["x"], count=count)
    found = find_clips({"a": str(a), "b": str(b)}, fps=FPS, trim=trim)
    assert found.clips[0].num_frames == 6
    assert found.cut == (f"x: 6 frames of a, {count} frames of b; all are cut to 6 frames",)


def test_real_clips_are_no_longer_than_the_study(tmp_path: Path) -> None:
    real = write_clips(tmp_path / "real", ["x", "y"], count=20)
    found = find_real(str(real), ["y", "z"], fps=FPS, most_seconds=Fraction(6, 25))
    assert [(clip.name, clip.num_frames) for clip in found] == [("y", 6)]
    assert len(find_real(str(real), ["z"], fps=FPS, most_seconds=Fraction(1))) == 2


@pytest.mark.parametrize(
    ("paths", "names", "code"),
    [
        (["runs/a/out", "runs/b/out"], [], "name-conflict"),
        (["a", "b"], ["one"], "count-mismatch"),
        (["real", "b"], [], "name-invalid"),
        (["a", "b"], ["x", " "], "name-invalid"),
    ],
)
def test_names_that_tell_nothing_apart_are_refused(paths: list[str], names: list[str], code: str) -> None:
    with raises(code):
        method_names(paths, names)


def test_a_degraded_copy_is_plainly_worse() -> None:
    frames = moving_frames(8, 128, 96)
    copies = list(degrade(iter(frames)))
    assert [copy.shape for copy in copies] == [frame.shape for frame in frames]
    assert all(len(np.unique(copy.reshape(-1, 3), axis=0)) <= 16 * 22 for copy in copies)
    assert np.array_equal(copies[0], copies[3])
    assert not np.array_equal(copies[3], copies[4])


@pytest.mark.parametrize("real", [True, False])
def test_the_public_folder_names_no_method_and_no_clip(tmp_path: Path, real: bool) -> None:
    key = make_study(tmp_path, real=real)
    public = tmp_path / "study" / "public"
    files = [path for path in public.rglob("*") if path.is_file()]
    clips = [path for path in files if path.suffix == ".mp4"]
    assert len(clips) == 2 * len(key.trials)
    assert all(re.fullmatch("[0-9a-f]{16}", path.stem) for path in clips)
    assert len({path.stat().st_mtime for path in clips}) == 1
    for path in files:
        content = path.read_bytes().lower()
        for word in (b"vid2vid", b"pix2pix", b"walk_", b"footage", b"degraded"):
            assert word not in content, path
    found = re.search(r'<script id="data"[^>]*>(.*?)</script>', (public / "index.html").read_text())
    assert found is not None
    assert {frozenset(trial) for trial in json.loads(found[1])["trials"]} == {frozenset(("id", "left", "right"))}
    assert not (public / "key.json").exists()
    assert read_key(tmp_path / "study") == key


def test_both_clips_of_a_pair_are_alike_in_all_but_their_pixels_and_silent(tmp_path: Path) -> None:
    folders = {}
    for name in "ab":
        (tmp_path / name).mkdir()
        write_file(tmp_path / name / "x.mkv", moving_frames(6, 63, 47), audio="aac", pix_fmt="yuv444p")
        folders[name] = str(tmp_path / name)
    clips = find_clips(folders, fps=FPS).clips
    plan = plan_trials(["x"], ["a", "b"])
    key = plain_key(1).model_copy(update={"methods": folders, "trials": plan.trials})
    write_study(tmp_path / "study", key, clips, crf=20)
    infos = [probe(path) for path in (tmp_path / "study" / "public" / "clips").iterdir()]
    assert {(i.width, i.height, i.fps, i.num_frames, i.has_audio, i.codec) for i in infos} == {
        (64, 48, FPS, 6, False, "h264")
    }


def test_the_question_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    make_study(tmp_path, num_clips=1, question="</h1><script>alert(1)</script>")
    page = (tmp_path / "study" / "public" / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_clip_that_ends_early_leaves_no_study(tmp_path: Path) -> None:
    methods = {name: str(write_clips(tmp_path / name, ["x"])) for name in "ab"}
    clips = find_clips(methods, fps=FPS).clips
    write_file(tmp_path / "b" / "x.mp4", moving_frames(3))  # replaced after it was looked at
    key = plain_key(1).model_copy(update={"methods": methods, "trials": plan_trials(["x"], list("ab")).trials})
    with raises("video-damaged", "3", "6"):
        write_study(tmp_path / "study", key, clips, clips, crf=20)
    assert not (tmp_path / "study").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_study_is_never_written_over_another(tmp_path: Path) -> None:
    make_study(tmp_path, num_clips=1)
    before = (tmp_path / "study" / "key.json").read_bytes()
    paths = [str(tmp_path / name) for name in ("vid2vid", "pix2pixhd")]
    result = CliRunner().invoke(cli, ["study", *paths, "--out", str(tmp_path / "study")])
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "folder-not-empty"
    assert (tmp_path / "study" / "key.json").read_bytes() == before


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["a", "b"], "--out"),
        (["a", "--out", "s"], "two"),
        (["s", "--serve", "--tally"], "--serve"),
        (["a", "b", "--tally"], "--tally"),
        (["s", "--tally", "--seed", "3"], "--seed"),
        (["a", "b", "--out", "s", "--port", "80"], "--port"),
        (["a", "b", "--out", "s", "--check-every", "9"], "check_every"),
    ],
)
def test_modes_that_do_not_fit_together_are_refused(args: list[str], name: str) -> None:
    result = CliRunner().invoke(cli, ["study", *args])
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "setting-invalid"
    assert name in str(result.exception)


def test_the_command_makes_the_same_study_again_and_another_for_another_seed(tmp_path: Path) -> None:
    a, b = write_clips(tmp_path / "a", ["x", "y"]), write_clips(tmp_path / "b", ["x", "y"])
    for out, seed in (("s1", "5"), ("s2", "5"), ("s3", "6")):
        result = CliRunner().invoke(cli, ["study", str(a), str(b), "--out", str(tmp_path / out), "--seed", seed])
        assert result.exit_code == 0, result.output
        assert "3 trials (1 attention check)" in result.output
    keys = [read_key(tmp_path / out) for out in ("s1", "s2", "s3")]
    assert keys[0] == keys[1]
    assert {t.left.id for t in keys[0].trials}.isdisjoint(t.left.id for t in keys[2].trials)
    pages = [(tmp_path / out / "public" / "index.html").read_bytes() for out in ("s1", "s2")]
    assert pages[0] == pages[1]


def test_the_command_takes_real_clips_folders_of_images_and_three_methods(tmp_path: Path) -> None:
    for name in "abc":
        for clip in ("x", "y"):
            (tmp_path / name / clip).mkdir(parents=True)
            for number, image in enumerate(moving_frames(5)):
                Image.fromarray(image).save(tmp_path / name / clip / f"{number:03d}.png")
    real = write_clips(tmp_path / "film", ["z"], count=12)
    paths = [str(tmp_path / name) for name in "abc"]
    names = ["--name", "one", "--name", "two", "--name", "three"]
    more = ["--real", str(real), "--out", str(tmp_path / "s"), "--check-every", "4"]
    result = CliRunner().invoke(cli, ["study", *paths, *names, *more])
    assert result.exit_code == 0, result.output
    key = read_key(tmp_path / "s")
    assert list(key.methods) == ["one", "two", "three"]
    assert Counter(trial.kind for trial in key.trials) == {"compare": 6, "real": 2}
    lengths = {probe(path).num_frames for path in (tmp_path / "s" / "public" / "clips").iterdir()}
    assert lengths == {5}


def test_a_clip_that_is_left_out_is_a_problem_of_the_command(tmp_path: Path) -> None:
    a, b = write_clips(tmp_path / "a", ["x", "y"]), write_clips(tmp_path / "b", ["x"])
    result = CliRunner().invoke(cli, ["study", str(a), str(b), "--out", str(tmp_path / "s")])
    assert result.exit_code == 3
    assert "y is left out" in result.output


def test_serving_and_counting_load_nothing_heavy() -> None:
    code = "import v2vkit.stages.study, v2vkit.evaluation.study.server, v2vkit.evaluation.study.answers\n"
    code += "import sys; print({m.split('.')[0] for m in sys.modules} & {'torch', 'cv2', 'av', 'matplotlib'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_folder_without_a_study_is_told(tmp_path: Path) -> None:
    with raises("study-missing", str(tmp_path)):
        read_key(tmp_path)
    (tmp_path / "key.json").write_text('{"version": 1}')
    with raises("study-damaged", "key.json"):
        read_key(tmp_path)
