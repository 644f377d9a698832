"""`v2v evaluate`: measures a trained model on held-out clips, next to simple baselines."""

from collections.abc import Iterator
from functools import partial
from itertools import islice, tee
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.config import Precision, StageConfig, setting
from v2vkit.engine.devices import DEVICES, PRECISION
from v2vkit.errors import V2VError, counted
from v2vkit.evaluation.metrics.registry import metric_names
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.progress import Progress, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.artifacts.manifest import ClipInfo
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.evaluation.compare import Row
    from v2vkit.evaluation.sheet import Sheet
    from v2vkit.inference.conditioned import ConditionedFrame
    from v2vkit.stages.evaluate_plan import Opened

    Image = NDArray[np.uint8]


class EvaluateConfig(StageConfig):
    """Measure a trained model on the clips of another workspace.

    DATA is a workspace of held-out footage: frames, the model's maps and, for the warp error, flow. Each shot is
    rendered from its maps alone, joined where it is split into clips, and compared with its real frames. A model
    trained with --feature-dims is rendered in style 0 of --work. All metrics are computed whose needs are met (--list
    shows them); what is left out, and why, is printed. Baselines: "repeat first frame", "source shown as is", and for
    a coarse scale the real frames downsampled to its size and upsampled again. With --unpaired, DATA needs no frames:
    its maps are rendered, and the set of outputs is compared with the set of other real frames. Writes
    evaluation.json, a plot over time and a contact sheet (source | output | real), and prints tables.
    """

    data: str | None = setting(None, "Workspace with the held-out footage.", argument=True)
    metrics: tuple[str, ...] = setting(
        (), "Metric to compute; default: all whose needs are met.", metavar="NAME", choices=metric_names
    )
    list: bool = setting(False, "Print the table of metrics (needs, weights, counts, sources) and do nothing else.")
    unpaired: str | None = setting(
        None,
        "Workspace with real frames to compare with, where DATA has none beside its maps: FID, KID, VFID, FVD, label "
        "fidelity, landmark and pose error only.",
        metavar="REAL",
    )
    segmenter: str | None = setting(
        None,
        "Segmentation network with the model's labels, for label fidelity: weights of torchvision's DeepLabV3 or "
        "LR-ASPP, or the folder of a segmenter's checkpoint.",
        metavar="FILE",
    )
    segmenter_keep: tuple[int, ...] = setting(
        (),
        "Class of the segmentation network, in the order of the model's labels; default: all.",
        metavar="ID",
    )
    checkpoint: str | None = setting(None, "Checkpoint, such as spatial-1; default: the finest.")
    out: str | None = setting(
        None,
        "Folder for the report; default: <work>/evaluation/<checkpoint>, with --real-flow ending in -real-flow.",
        metavar="FOLDER",
    )
    first_frame_model: str | None = setting(
        None,
        "Checkpoint folder of the image model that makes the first frames (models trained with --first-frame image); "
        "default: checkpoints/pix2pixhd of --work.",
        metavar="FOLDER",
    )
    real_flow: bool = setting(
        False,
        "Warp with the flow of the real frames in place of the flow that the model predicts (an ablation of the paper; "
        "vid2vid models).",
    )
    prediction: bool = setting(
        False,
        "Measure models of prediction instead (predictor, prednet, mcnet): observe and predict from every admissible "
        "start.",
    )
    frames: int = setting(10, "Predicted frames (--prediction).", ge=1, le=1000)
    every: int = setting(1, "Distance in frames between two starts (--prediction).", ge=1, le=1000)
    video: str | None = setting(
        None, "Checkpoint of the model that renders frames from the predicted labels (--prediction)."
    )
    columns: int = setting(8, "Columns of the contact sheet.", ge=1, le=32)
    device: str = setting("auto", f"{DEVICES}.")
    precision: Precision = setting("auto", PRECISION)
    threads: int = setting(0, "CPU threads of torch; 0: as many as there are idle cores.", ge=0)


def _check(config: EvaluateConfig) -> None:
    """Refuse settings without effect, also before the other tables of a recipe run."""
    if config.list:
        return
    if config.data is None:
        raise V2VError("setting-required", "DATA is missing: the workspace to measure on.", "Give `v2v evaluate DATA`.")
    others = ("unpaired", "segmenter", "segmenter_keep", "first_frame_model", "real_flow", "precision")
    names = others if config.prediction else ("frames", "every", "video")
    given = " and ".join(f"--{name.replace('_', '-')}" for name in names if name in config.model_fields_set)
    if given and config.prediction:
        raise V2VError("setting-unused", f"{given}: --prediction does not use it.", f"Leave out {given}.")
    if given:
        raise V2VError(
            "setting-unused", f"{given}: it is for --prediction.", f"Add --prediction, or leave out {given}."
        )
    if config.segmenter_keep and config.segmenter is None:
        raise V2VError(
            "setting-unused", "--segmenter-keep needs --segmenter.", "Add it, or leave --segmenter-keep out."
        )


def _evaluate(config: EvaluateConfig, options: RunOptions) -> list[str]:
    if config.list:
        from v2vkit.evaluation.choose import list_metrics

        print(list_metrics())
        return []
    if config.prediction:
        return _predict(config, options)
    from v2vkit.checkpoint.find_model import describe_checkpoint
    from v2vkit.evaluation.sheet import Sheet
    from v2vkit.inference.workspace import count_missing_instances, maps_warning
    from v2vkit.stages.evaluate_plan import length, open_evaluation

    opened = open_evaluation(config, options)
    info, reader = opened.info, opened.reader
    print(describe_checkpoint(Folder(options.work), opened.checkpoint, info))
    if (note := maps_warning(info, opened.manifests)) is not None:
        print(note)
    sheet = Sheet(max(length(shot) for shot in opened.shots), config.columns)
    _report(opened, _measure(opened, sheet), sheet, config, options)
    lacking = [
        f"{reason}: {counted(number, 'frame')}" for reason, number in count_missing_instances(info, reader).items()
    ]
    return [*lacking, *(f"{clip.name}: left out, it has {counted(clip.num_frames, 'frame')}" for clip in opened.short)]


def _predict(config: EvaluateConfig, options: RunOptions) -> list[str]:
    from v2vkit.stages.evaluate_prediction import evaluate_prediction

    names = ("checkpoint", "video", "metrics", "frames", "every", "out", "columns", "device", "threads")
    assert config.data is not None, "checked"
    return evaluate_prediction(config.data, options.work, **{name: getattr(config, name) for name in names})


def _measure(opened: "Opened", sheet: "Sheet") -> "list[Row]":
    """Metrics of every method on every frame; the longest shot also fills the contact sheet."""
    from v2vkit.evaluation.compare import measure_real
    from v2vkit.stages.evaluate_plan import length

    rows: list[Row] = []
    longest = max(opened.shots, key=length)
    real = [] if opened.real is None else opened.real.shots
    total = sum(length(shot) for shot in (*opened.shots, *real))
    with progress(total, desc="evaluate") as shown:
        for shot in opened.shots:
            rows += _measure_shot(opened, shot, sheet if shot is longest else None, shown)
        for shot in real:
            assert opened.real is not None
            measure_real(shot[0].name, _counted(_real(opened.real.reader, shot), shown), opened.metrics)
    return rows


def _measure_shot(opened: "Opened", shot: "list[ClipInfo]", sheet: "Sheet | None", shown: Progress) -> "Iterator[Row]":
    from v2vkit.evaluation.compare import Before, evaluate_clip
    from v2vkit.evaluation.metrics.contract import OURS, REAL_COARSE, SOURCE
    from v2vkit.inference.rollout import limit_resolution

    info, reader, paired = opened.info, opened.reader, opened.real is None
    rendered, conditioned = tee(_rendered(opened, shot))
    sources: Iterator[Image] = (info.conditioning.preview(frame.s) for frame, _ in conditioned)
    ours = _counted((image for _, image in rendered), shown)
    real = _real(reader, shot) if paired else None
    if sheet is not None:
        sources, ours = sheet.keep(sources), sheet.keep(ours)
        real = None if real is None else sheet.keep(real)
    before: Before | None = None
    for clip in shot:
        frames = range(clip.num_frames)
        methods: dict[str, Iterator[Image]] = {
            OURS: islice(ours, clip.num_frames),
            SOURCE: islice(sources, clip.num_frames),
        }
        if info.downsamplings and paired:
            methods[REAL_COARSE] = (limit_resolution(reader.frame(clip.name, t), info.downsamplings) for t in frames)
        yield from evaluate_clip(
            clip.name,
            None if real is None else islice(real, clip.num_frames),
            methods,
            metrics=opened.metrics,
            before=before,
            beside={name: map(partial(read, clip.name), frames) for name, read in opened.beside.items()},
            skip_first=opened.skip_first,
        )
        first = before.first if before is not None else reader.frame(shot[0].name, 0) if paired else None
        before = Before(shot[0].name, clip.num_frames + (0 if before is None else before.num_frames), first)


def _report(opened: "Opened", rows: "list[Row]", sheet: "Sheet", config: EvaluateConfig, options: RunOptions) -> None:
    """Write the report and print its tables."""
    from v2vkit.artifacts.images import encode_png
    from v2vkit.checkpoint.model_info import downsampled_size
    from v2vkit.evaluation.metrics.contract import WithPictures
    from v2vkit.evaluation.report import JSON_NAME, about_metrics, notes, table, write_report
    from v2vkit.evaluation.summary import summarize
    from v2vkit.inference.rollout import render_precision

    info, first, out, choice = opened.info, opened.shots[0][0], opened.out, opened.choice
    coarse = downsampled_size(first.width, first.height, info.downsamplings) if info.downsamplings else None
    frames = opened.manifests["frames"] if opened.real is None else opened.real.manifest
    said = notes(
        choice.rows,
        height=first.height,
        width=first.width,
        skip_first=opened.skip_first,
        coarse=coarse,
        left_out=choice.left_out,
        warnings=choice.warnings,
    )
    about = {
        "model": {
            "checkpoint": opened.checkpoint.url,
            "method": info.method,
            "flow": "real" if config.real_flow else "own",
            "steps": info.steps,
            "fingerprint": info.fingerprint,
            "precision": render_precision(opened.generator, opened.precision),
        },
        "data": config.data,
        **({} if config.unpaired is None else {"unpaired": config.unpaired}),
        "frames_fingerprint": frames.fingerprint,
        "size": [first.width, first.height],
        "shots": len(opened.shots),
        "metrics": about_metrics(choice.rows, {name: metric.about for name, metric in opened.metrics.items()}),
        "left_out": {name: str(error) for name, error in choice.left_out.items()},
        "notes": said,
    }
    summary = summarize(rows, {name: metric.compute() for name, metric in opened.metrics.items()})
    print(table(summary))  # before writing, which may fail
    for note in said:
        print(f"  {note}")
    write_report(out, rows, summary, about=about, title=f"{options.work} on {config.data}")
    pictures = {"contact": sheet.picture()}
    for metric in opened.metrics.values():
        if isinstance(metric, WithPictures):
            pictures |= metric.pictures()
    for name, picture in pictures.items():
        out.write(f"{name}.png", encode_png(picture))
    print(f"{out.url}/{', '.join([JSON_NAME, 'evaluation.png', *(f'{name}.png' for name in pictures)])}")


def _rendered(opened: "Opened", shot: "list[ClipInfo]") -> "Iterator[tuple[ConditionedFrame, Image]]":
    """The model's frames for a shot, from its maps (and its first real frames where the model needs them)."""
    import numpy as np

    from v2vkit.inference.conditioned import stored
    from v2vkit.inference.session import Session
    from v2vkit.inference.workspace import annotated_frames

    info, style = opened.info, opened.style
    flow = info.generator.takes_flow or opened.real_flow
    given = list(islice(_real(opened.reader, shot), info.generator.history)) if info.first_frame == "real" else None
    session = Session(
        opened.generator,
        downsamplings=info.downsamplings,
        first_frames=None if given is None else np.stack(given),
        first_frame_model=opened.first_frame_model,
        style=style,
        precision=opened.precision,
        given_flow=opened.real_flow,
    )
    frames = annotated_frames(opened.reader, info.conditioning, [shot], flow=flow, regions=style is not None)
    return session.render(stored(frame, info) for frame in frames)


def _real(reader: "ClipReader", shot: "list[ClipInfo]") -> "Iterator[Image]":
    return (reader.frame(clip.name, t) for clip in shot for t in range(clip.num_frames))


def _counted(frames: "Iterator[Image]", shown: Progress) -> "Iterator[Image]":
    for frame in frames:
        shown.update()
        yield frame


COMMAND = Command(
    name="evaluate",
    config=EvaluateConfig,
    call=_evaluate,
    check=_check,
)
