"""Small studies for the tests."""

from fractions import Fraction
from pathlib import Path

from tests.unit.video_files import moving_frames
from v2vkit.evaluation.study.answers import Answer
from v2vkit.evaluation.study.build import write_study
from v2vkit.evaluation.study.key import Key, Trial
from v2vkit.evaluation.study.pairing import find_clips, find_real
from v2vkit.evaluation.study.plan import plan_trials
from v2vkit.video.encode import write_video

FPS = Fraction(25)


def write_clips(folder: Path, names: list[str], *, count: int = 6, width: int = 64, height: int = 48) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        write_video(folder / f"{name}.mp4", moving_frames(count, width, height, step=number + 2), fps=FPS)
    return folder


def make_study(folder: Path, *, num_clips: int = 3, real: bool = True, question: str = "Which?") -> Key:
    """A study of `vid2vid` and `pix2pixhd` in folder/study."""
    names = [f"walk_{number}" for number in range(num_clips)]
    methods = {name: str(write_clips(folder / name, names)) for name in ("vid2vid", "pix2pixhd")}
    clips = find_clips(methods, fps=FPS).clips
    footage = write_clips(folder / "footage", names) if real else None
    real_clips = [] if footage is None else find_real(str(footage), names, fps=FPS, most_seconds=Fraction(6, 25))
    plan = plan_trials(names, list(methods), real_clips=[clip.name for clip in real_clips])
    key = Key(study=plan.study, question=question, seed=0, methods=methods, trials=plan.trials)
    write_study(folder / "study", key, clips, real_clips, crf=20)
    return key


def plain_key(num_clips: int, *, real: bool = True, check_every: int = 8) -> Key:
    """A key without files."""
    names = [f"walk_{number}" for number in range(num_clips)]
    plan = plan_trials(names, ["ours", "theirs"], real_clips=names if real else (), check_every=check_every)
    return Key(study=plan.study, question="Which?", seed=0, methods={"ours": "a", "theirs": "b"}, trials=plan.trials)


def answer(key: Key, trial: Trial, rater: str, method: str) -> Answer:
    """The rater's choice of a method."""
    choice = "left" if trial.left.method == method else "right"
    assert method in (trial.left.method, trial.right.method)
    return Answer(
        study=key.study,
        rater=rater,
        trial=trial.id,
        left=trial.left.id,
        right=trial.right.id,
        choice=choice,
        seconds=1.5,
    )
