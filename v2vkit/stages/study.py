"""`v2v study`: a preference study of two or more methods."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from v2vkit.config import DEFAULT_RATE, RateSetting, StageConfig, setting
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Command, RunOptions

if TYPE_CHECKING:
    from v2vkit.evaluation.study.key import Trial
    from v2vkit.evaluation.study.pairing import Clip

_OF_BUILD = ("out", "real", "name", "question", "seed", "check_every", "trim", "fps", "crf")
_OF_TALLY = ("interval", "confidence", "max_failed")
_OF_SERVE = ("port",)


class StudyConfig(StageConfig):
    """Ask people which of two methods looks better: make a study, serve it, count the answers.

    \b
    v2v study A B --out DIR    make a study of two methods (or more: every pair)
    v2v study --serve DIR      show it to raters and collect their answers
    v2v study --tally DIR      count the answers

    A and B are folders of clips, or single videos; clips with the same name are a pair. Raters see the two clips of a
    pair side by side, in random order and position and without names. Some pairs are attention checks: a real clip and
    a degraded copy with --real, else a repeated pair with its sides swapped.

    DIR/public is a static site for any web server; raters then download their answers at the end and send them to you,
    and you put the files into DIR/answers. --serve collects answers directly, but only on this machine's loopback
    address. DIR/key.json links clips to methods: do not publish it.
    """

    paths: tuple[str, ...] = setting(
        ...,
        "Folders or videos of the methods; with --serve or --tally, the folder of the study.",
        argument=True,
        metavar="PATHS...",
        min_length=1,
    )
    out: str | None = setting(None, "Folder to write the study to; new or empty.", metavar="DIR")
    serve: bool = setting(False, "Serve a study and collect answers until Ctrl-C.")
    tally: bool = setting(False, "Count the answers of a study; prints a table and writes tally.json and tally.md.")
    real: str | None = setting(None, "Folder of real clips, or one video, for the attention checks.", metavar="R")
    name: tuple[str, ...] = setting(
        (), "Name of a method in the tally, once for each method; default: the name of its folder or video."
    )
    question: str = setting(
        "Which looks more like a video from a real camera?", "Question to the raters.", min_length=1, max_length=300
    )
    seed: int = setting(0, "Seed of order, sides and hidden names.", ge=0)
    check_every: int = setting(8, "At least one in this many trials is an attention check.", ge=2, le=8)
    trim: bool = setting(
        False, "Cut the longer clip of a pair at its end; else a difference of more than one frame is an error."
    )
    fps: RateSetting = setting(DEFAULT_RATE, "Frames per second of folders of images.")
    crf: int = setting(
        16, "Constant rate factor of the H.264 clips; lower is better quality and larger files.", ge=0, le=40
    )
    port: int = setting(8765, "Port of --serve; 0 = any free port.", ge=0, le=65535)
    interval: Literal["exact", "wilson"] = setting(
        "exact", "Confidence interval of the shares: exact = Clopper-Pearson, wilson = Wilson score (narrower)."
    )
    confidence: float = setting(0.95, "Confidence level of the intervals.", ge=0.5, lt=1)
    max_failed: float = setting(
        0.25, "Leave out raters who fail more than this share of their attention checks.", ge=0, le=1
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.serve and self.tally:
            raise ValueError("give either --serve or --tally")
        mode = "--serve" if self.serve else "--tally" if self.tally else None
        if mode is not None and len(self.paths) != 1:
            raise ValueError(f"{mode} takes the folder of one study: v2v study {mode} DIR")
        if mode is None and len(self.paths) < 2:
            raise ValueError(
                "two methods are required: v2v study A B --out DIR; or give --serve or --tally with a study"
            )
        if mode is None and self.out is None:
            raise ValueError("--out is required: the folder to write the study to")
        idle = {"--serve": _OF_BUILD + _OF_TALLY, "--tally": _OF_BUILD + _OF_SERVE, None: _OF_SERVE + _OF_TALLY}[mode]
        for field in idle:
            if getattr(self, field) != type(self).model_fields[field].default:
                raise ValueError(
                    f"--{field.replace('_', '-')} has no effect {f'with {mode}' if mode else 'when making a study'}"
                )
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
    methods = dict(zip(method_names(config.paths, config.name), config.paths, strict=True))
    found = find_clips(methods, fps=config.fps, trim=config.trim)
    for note in found.cut:
        print(note)
    clips = found.clips
    names = [clip.name for clip in clips]
    longest = max(clip.num_frames / clip.fps for clip in clips)
    real = [] if config.real is None else find_real(config.real, names, fps=config.fps, most_seconds=longest)
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
        f"{_minutes(plan.trials, clips, real)} per rater. Serve it: v2v study --serve {config.out}; or copy "
        f"{config.out}/public to any web server. Do not publish key.json."
    )
    return list(found.left_out)


def _minutes(trials: "Sequence[Trial]", clips: "Sequence[Clip]", real: "Sequence[Clip]") -> str:
    """The shortest time that a rater needs to watch all clips once."""
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
        print(f"{server.url} serves the study on this machine; Ctrl-C stops it.", flush=True)
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
    from v2vkit.evaluation.study.tally import markdown, table, tally

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
    Folder(folder).write("tally.md", markdown(found).encode())
    print(f"{folder}/tally.json, tally.md")
    return []


COMMAND = Command(
    name="study",
    config=StudyConfig,
    call=_study,
    options=(),
)
