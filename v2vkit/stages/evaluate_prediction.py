"""`v2v evaluate DATA --prediction`: observes and predicts from every admissible start of held-out shots."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder
from v2vkit.engine.cores import choose_threads
from v2vkit.errors import counted
from v2vkit.pipeline.stage import RunOptions
from v2vkit.progress import progress
from v2vkit.stages.evaluate_prediction_plan import PredictionPlan, open_prediction

if TYPE_CHECKING:
    from torch import nn

    from v2vkit.arrays import Image
    from v2vkit.conditions.labels import LabelMap
    from v2vkit.evaluation.prediction import PredictionScores
    from v2vkit.evaluation.prediction_profile import ErrorProfile
    from v2vkit.stages.evaluate import EvaluateConfig


JSON_NAME, PLOT_NAME, SHEET_NAME = "prediction.json", "prediction.png", "prediction-contact.png"
PROFILE_NAME = "prediction-profile.png"


@dataclass
class _Sheet:
    """Rows of the contact sheet: name -> images by step (0 = the last observed frame)."""

    rows: "dict[str, list[Image]]" = field(default_factory=dict)


def evaluate_prediction(config: "EvaluateConfig", options: RunOptions, target: Folder) -> tuple[list[str], list[str]]:
    """Measure every model of prediction of a workspace, next to simple baselines.

    Args:
        target: folder of the report.

    Returns:
        The names of the files of the report, and the problems.

    Raises:
        V2VError: a model or an artifact is missing, they do not fit together, or no shot is long enough.
    """
    from v2vkit.evaluation.prediction import PredictionScores, plot_curves, report_json, sets_text, summary_text
    from v2vkit.evaluation.prediction_profile import ErrorProfile, plot_profile, profile_json, profile_text

    target.refuse_unwritable()
    choose_threads(config.threads)
    plan, short = open_prediction(config, Folder(options.work))
    scores, profile, sheet = PredictionScores(), ErrorProfile(), _Sheet()
    starts = [(shot, start) for shot in plan.shots for start in _starts(plan, shot)]
    shown_start = starts[len(starts) // 2]
    with progress(len(starts), desc="evaluate") as shown:
        for shot, start in starts:
            _measure(plan, shot[start:], scores, profile, sheet if (shot, start) == shown_start else None)
            shown.update()
    curves = scores.curves()
    print(summary_text(curves))
    sets = {name: values for name, metric in plan.metrics.items() if (values := metric.compute())}
    if sets:
        print(f"\n{sets_text(sets)}")
    names, title = [JSON_NAME, PLOT_NAME, SHEET_NAME], f"{options.work} on {config.data}"
    about: dict[str, Any] = {"data": config.data, "observe": plan.observe, "starts": len(starts), "sets": sets}
    if profile.counts:
        about["profile"] = profile_json(profile, scores, _class_names(plan))
        print(f"\n{profile_text(about['profile'])}\n")
        target.write(PROFILE_NAME, plot_profile(about["profile"], title=title))
        names.append(PROFILE_NAME)
    about["notes"] = _notes(plan, len(starts))
    print("\n".join(f"  {note}" for note in about["notes"]))
    target.write(JSON_NAME, (json.dumps(report_json(curves, about), indent=1) + "\n").encode())
    target.write(PLOT_NAME, plot_curves(curves, title=title))
    target.write(SHEET_NAME, _picture(sheet, config.columns))
    print(f"{target.url}/{', '.join(names)}")
    return names, short


def _class_names(plan: PredictionPlan) -> dict[int, str]:
    classes = None if plan.condition is None else plan.condition.classes
    return {} if classes is None else dict(classes.names)


def _starts(plan: PredictionPlan, shot: list[tuple[str, int]]) -> range:
    from v2vkit.evaluation.prediction import admissible_starts

    return admissible_starts(len(shot), observe=plan.observe, frames=plan.frames, every=plan.every)


def _measure(
    plan: PredictionPlan,
    places: list[tuple[str, int]],
    scores: "PredictionScores",
    profile: "ErrorProfile",
    sheet: "_Sheet | None",
) -> None:
    """Predict from one start with every method and measure each step."""
    past, future = places[: plan.observe], places[plan.observe : plan.observe + plan.frames]
    flow = plan.reader.flow(*past[-1], 1) if plan.flow else None
    if plan.label_models:
        _measure_labels(plan, past, future, None if flow is None else flow[0], scores, profile, sheet)
    if plan.metrics:
        _measure_frames(plan, past, future, None if flow is None else flow[0], scores, sheet)


def _measure_labels(
    plan: PredictionPlan,
    past: list[tuple[str, int]],
    future: list[tuple[str, int]],
    flow: Any,
    scores: "PredictionScores",
    profile: "ErrorProfile",
    sheet: "_Sheet | None",
) -> None:
    from v2vkit.conditions.label_ids import colorize
    from v2vkit.evaluation.prediction import COPY_LABELS, WARP_LABELS, motion_ahead, warp_labels
    from v2vkit.evaluation.prediction_profile import is_profiled, pixel_groups

    assert plan.condition is not None
    real = _label_maps(plan, [past[-1], *future])
    last = real[0].labels
    methods: dict[str, Iterator[Any]] = {
        name: (found.labels for found in _predicted(plan, network, past)) for name, network in plan.label_models.items()
    }
    methods[COPY_LABELS] = iter([last] * plan.frames)
    if flow is not None:
        methods[WARP_LABELS] = (warp_labels(last, displacement) for displacement in motion_ahead(flow))
    if sheet is not None:
        sheet.rows["real labels"] = [colorize(annotation.labels) for annotation in real]
    num_labels, groups = plan.condition.num_labels, {}
    for step in filter(lambda step: is_profiled(step, plan.frames), range(1, plan.frames + 1)):
        moved = plan.reader.flow(*future[step - 1], 1) if plan.flow else None
        groups[step] = pixel_groups(real[step].labels, last, None if moved is None else moved[0], num_labels)
    for name, found in methods.items():
        for step, labels in enumerate(islice(found, plan.frames), 1):
            scores.add_labels(name, step, labels, real[step].labels, num_labels)
            if step in groups:
                profile.add(name, step, labels, real[step].labels, groups[step])
            if sheet is not None and name in plan.label_models:
                sheet.rows.setdefault(name, [colorize(last)]).append(colorize(labels))


def _measure_frames(
    plan: PredictionPlan,
    past: list[tuple[str, int]],
    future: list[tuple[str, int]],
    flow: Any,
    scores: "PredictionScores",
    sheet: "_Sheet | None",
) -> None:
    from v2vkit.conditions.flow import warp_backward
    from v2vkit.evaluation.metrics.contract import REAL
    from v2vkit.evaluation.prediction import REPEAT_FRAME, WARP_FRAME, motion_ahead
    from v2vkit.inference.prediction import predicted_frames

    observed, real = ([plan.reader.frame(*place) for place in places] for places in (past, future))
    methods: dict[str, Iterator[Any]] = {REPEAT_FRAME: iter([observed[-1]] * plan.frames)}
    if flow is not None:
        methods[WARP_FRAME] = (warp_backward(observed[-1], displacement) for displacement in motion_ahead(flow))
    methods |= {name: predicted_frames(network, observed) for name, network in plan.frame_models.items()}
    if plan.video is not None:
        for name, network in plan.label_models.items():
            methods[f"{name} + {plan.video[1].stage}"] = _rendered(plan, network, past, observed)
    if sheet is not None:
        sheet.rows["real frames"] = [observed[-1], *real]
    start = "/".join(map(str, past[0]))
    scores.add_frames(REAL, real, real, plan.metrics, start=start, places=future)
    for name, found in methods.items():
        images = list(islice(found, plan.frames))
        scores.add_frames(name, images, real, plan.metrics, start=start, places=future)
        if sheet is not None and name not in (REPEAT_FRAME, WARP_FRAME):
            sheet.rows[name] = [observed[-1], *images]


def _label_maps(plan: PredictionPlan, places: list[tuple[str, int]]) -> "list[LabelMap]":
    assert plan.condition is not None
    return [plan.reader.annotation(plan.condition, *place, "channels") for place in places]


def _predicted(plan: PredictionPlan, network: "nn.Module", past: list[tuple[str, int]]) -> "Iterator[LabelMap]":
    from v2vkit.inference.prediction import predicted_maps

    return predicted_maps(network, _label_maps(plan, past))


def _rendered(
    plan: PredictionPlan, network: "nn.Module", past: list[tuple[str, int]], observed: "list[Image]"
) -> "Iterator[Image]":
    """The video of predicted labels; its generator begins from the last observed frames and their maps."""
    import numpy as np

    from v2vkit.inference.conditioned import stored
    from v2vkit.inference.session import Session
    from v2vkit.video.stream import InputFrame

    assert plan.video is not None
    generator, info = plan.video
    length = info.generator.history
    session = Session(generator, first_frames=np.stack(observed[-length:]) if length else None)

    def render(annotation: "LabelMap") -> "Image":
        return session.step(stored(InputFrame(None, shot=0, annotations=(annotation,)), info))

    for annotation in _label_maps(plan, past[-length:] if length else []):
        render(annotation)
    yield from map(render, _predicted(plan, network, past))


def _notes(plan: PredictionPlan, starts: int) -> list[str]:
    found = [
        f"{counted(starts, 'start')}: {plan.observe} frames observed, {plan.frames} predicted, a start every "
        f"{counted(plan.every, 'frame')}.",
        "mIoU: of the label maps of all starts together at that step, over labels that occur; unlabelled pixels do not "
        "count.",
    ]
    if not plan.flow:
        found.append("Warping baselines are left out: they need flow of stride 1 (`v2v extract-flow`).")
    if plan.metrics and plan.every < plan.frames:
        found.append(
            "Starts overlap: distances between sets of frames (FID, KID) count every real frame once, and predicted "
            "frames for every start."
        )
    return [*(found if plan.label_models else [found[0], *found[2:]]), *plan.left_out]


def _picture(sheet: _Sheet, columns: int) -> bytes:
    """The contact sheet as PNG: a row for each video, the last observed frame first."""
    import numpy as np

    from v2vkit.artifacts.images import encode_png

    length = len(next(iter(sheet.rows.values())))
    chosen = np.unique(np.linspace(0, length - 1, min(columns, length)).round().astype(int))
    rows = [np.concatenate([images[step] for step in chosen], 1) for images in sheet.rows.values()]
    return encode_png(np.concatenate(rows, 0))
