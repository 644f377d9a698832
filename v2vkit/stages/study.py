"""`v2v study`: which of two methods people prefer, side by side."""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import field_validator, model_validator

from v2vkit.config import DEFAULT_RATE, StageConfig, as_text, parse_rate, setting
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Command, RunOptions

if TYPE_CHECKING:
    from v2vkit.evaluation.study.key import Trial
    from v2vkit.evaluation.study.pairing import Clip

_OF_BUILD = ("out", "real", "name", "question", "seed", "check_every", "trim", "fps", "crf")
_OF_TALLY = ("interval", "confidence", "max_failed")
_OF_SERVE = ("port",)


class StudyConfig(StageConfig):
    """Ask people which of two methods looks better: make a study, serve it, count its answers.

    \b
    v2v study A B --out DIR    make a study of two methods (or more: every pair)
    v2v study --serve DIR      show it to raters and collect their answers
    v2v study --tally DIR      count the answers

    A and B are folders of clips, or single videos; clips with the same name are a pair. Raters see the two clips of a
    pair side by side, in random order and position and without names, and attention checks among them: a real clip
    against a degraded copy with --real, a repeated pair with its sides swapped without.

    DIR/public is a static site for any web server; raters then download their answers at the end, and you put those
    files into DIR/answers. --serve collects them by itself, on this machine's loopback address alone. DIR/key.json says
    which clip is whose: keep it to yourself.
    """

    paths: tuple[str, ...] = setting(
        ...,
        "Folders or videos of the methods; with --serve and --tally the study.",
        argument=True,
        metavar="PATHS...",
        min_length=1,
    )
    out: str | None = setting(None, "Folder for the study; new or empty.", metavar="DIR")
    serve: bool = setting(False, "Serve a study and collect its answers, until Ctrl-C.")
    tally: bool = setting(False, "Count the answers of a study; prints a table and writes tally.json.")
    real: str | None = setting(None, "Folder of real clips, or one video, for attention checks.", metavar="R")
    name: tuple[str, ...] = setting((), "Name of a method in the tally, once for each; else that of its folder.")
    question: str = setting(
        "Which looks more like a video from a real camera?", "What raters are asked.", min_length=1, max_length=300
    )
    seed: int = setting(0, "Seed of order, positions and hidden names.", ge=0)
    check_every: int = setting(8, "At least one trial in so many is an attention check.", ge=2, le=8)
    trim: bool = setting(False, "Cut the longer clip of a pair at its end, where they differ by more than a frame.")
    fps: str = setting(str(DEFAULT_RATE), "Frames per second of folders of images; videos have their own.")
    crf: int = setting(16, "Quality of the H.264 clips, the same for all; less is better and larger.", ge=0, le=40)
    port: int = setting(8765, "Port of --serve; 0 = any that is free.", ge=0, le=65535)
    interval: Literal["exact", "wilson"] = setting(
        "exact", "Interval of every share: Clopper-Pearson, or Wilson's (narrower)."
    )
    confidence: float = setting(0.95, "Confidence of the intervals.", ge=0.5, lt=1)
    max_failed: float = setting(
        0.25, "Leave out raters who fail more than this part of their attention checks.", ge=0, le=1
    )

    _number = field_validator("fps", mode="before")(as_text)

    @field_validator("fps")
    @classmethod
    def _rate(cls, text: str) -> str:
        return str(parse_rate(text))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.serve and self.tally:
            raise ValueError("--serve and --tally are two commands; give one of them")
        mode = "--serve" if self.serve else "--tally" if self.tally else None
        if mode is not None and len(self.paths) != 1:
            raise ValueError(f"{mode} takes the folder of one study, such as: v2v study {mode} DIR")
        if mode is None and len(self.paths) < 2:
            raise ValueError("two methods are needed: v2v study A B --out DIR; or give --serve or --tally with a study")
        if mode is None and self.out is None:
            raise ValueError("--out is needed: the folder for the study")
        idle = {"--serve": _OF_BUILD + _OF_TALLY, "--tally": _OF_BUILD + _OF_SERVE, None: _OF_SERVE + _OF_TALLY}[mode]
        for field in idle:
            if getattr(self, field) != type(self).model_fields[field].default:
                raise ValueError(f"--{field.replace('_', '-')} does nothing {f'with {mode}' if mode else 'here'}")
        return self


def _study(config: StudyConfig, options: RunOptions) -> list[str]:
    if config.serve:
        return _serve(config)
    return _tally(config) if config.tally else _build(config)


def _build(config: StudyConfig) -> list[str]:
    from v2vkit.evaluation.study.build import check_out, write_study
    from v2vkit.evaluation.study.key import Key
    from v2vkit.evaluation.study.pairing import find_clips, find_real, method_names
    from v2vkit.evaluation.study.plan import plan_trials

    assert config.out is not None, "checked with the settings"
    check_out(config.out)
    fps = Fraction(config.fps)
    methods = dict(zip(method_names(config.paths, config.name), config.paths, strict=True))
    found = find_clips(methods, fps=fps, trim=config.trim)
    for note in found.cut:
        print(note)
    clips = found.clips
    names = [clip.name for clip in clips]
    longest = max(clip.num_frames / clip.fps for clip in clips)
    real = [] if config.real is None else find_real(config.real, names, fps=fps, most_seconds=longest)
    plan = plan_trials(
        names,
        list(methods),
        real_clips=[clip.name for clip in real],
        check_every=config.check_every,
        seed=_full_seed(config.seed, config.paths),
    )
    key = Key(study=plan.study, question=config.question, seed=config.seed, methods=methods, trials=plan.trials)
    write_study(config.out, key, clips, real, crf=config.crf)
    checks = sum(trial.kind != "compare" for trial in plan.trials)
    print(
        f"{config.out}: {counted(len(plan.trials), 'trial')} ({counted(checks, 'attention check')}), at least "
        f"{_minutes(plan.trials, clips, real)} for a rater. Serve it: v2v study --serve {config.out}; or copy "
        f"{config.out}/public to any web server. Keep key.json to yourself."
    )
    return list(found.left_out)


def _minutes(trials: "Sequence[Trial]", clips: "Sequence[Clip]", real: "Sequence[Clip]") -> str:
    """How long a rater watches, at least."""
    seconds = {(clip.name, some is real): float(clip.num_frames / clip.fps) for some in (clips, real) for clip in some}
    total = sum(seconds[trial.clip, trial.kind == "real"] for trial in trials)
    return f"{total / 60:.0f} minutes" if total >= 90 else f"{total:.0f} seconds"


def _full_seed(seed: int, paths: Sequence[str]) -> str:
    """The seed, and the files themselves: who knows the seed alone cannot compute which id is which method."""
    from v2vkit.video.sources import checksum, find_sources

    total = hashlib.sha256(str(seed).encode())
    for path in paths:
        for source in find_sources([path]):
            place = Path(source.path)
            folder, names = (place, source.images) if source.images else (place.parent, (place.name,))
            total.update(checksum(folder, names).encode())
    return total.hexdigest()


def _serve(config: StudyConfig) -> list[str]:
    from v2vkit.evaluation.study.server import StudyServer

    (folder,) = config.paths
    server = StudyServer(folder, port=config.port)
    try:
        print(f"{server.url} shows the study to raters on this machine; Ctrl-C ends it.", flush=True)
        server.serve_forever()
    except KeyboardInterrupt:
        print(
            f"\nStopped. {counted(server.log.num_answers, 'answer')} of {counted(server.log.num_raters, 'rater')} in "
            f"{folder}/answers.jsonl. Count them: v2v study --tally {folder}"
        )
    finally:
        server.server_close()
    return []


def _tally(config: StudyConfig) -> list[str]:
    import json

    from v2vkit.artifacts.folder import Folder
    from v2vkit.evaluation.study.answers import read_answers
    from v2vkit.evaluation.study.key import read_key
    from v2vkit.evaluation.study.tally import table, tally

    (folder,) = config.paths
    key = read_key(folder)
    answers = read_answers(folder, key)
    if not answers.answers:
        raise V2VError(
            "answers-missing",
            f"There are no answers in {folder}.",
            f"Collect some with `v2v study --serve {folder}`, or put downloaded files into {folder}/answers.",
        )
    found = tally(key, answers, max_failed=config.max_failed, interval=config.interval, confidence=config.confidence)
    print(table(found))
    Folder(folder).write("tally.json", json.dumps(found.as_json(), indent=1).encode())
    print(f"{folder}/tally.json")
    return []


COMMAND = Command(
    name="study",
    config=StudyConfig,
    call=_study,
    options=(),
)
