"""`v2v evaluate`: measures a trained model on held-out clips, next to simple baselines."""

from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.config import MAX_THREADS, Precision, StageConfig, setting
from v2vkit.engine.devices import DEVICES, PRECISION
from v2vkit.errors import V2VError, counted
from v2vkit.evaluation.metrics.registry import metric_names
from v2vkit.inference.settling import SETTLE
from v2vkit.pipeline.stage import Command, RunOptions

if TYPE_CHECKING:
    from v2vkit.evaluation.compare import Row
    from v2vkit.evaluation.sheet import Sheet
    from v2vkit.stages.evaluate_plan import Opened


class EvaluateConfig(StageConfig):
    """Measure a trained model on the clips of another workspace.

    DATA is a workspace of held-out footage: frames, the model's maps and, for the warp error, flow. Each shot is
    rendered from its maps alone, joined where it is split into clips, and compared with its real frames. A model
    trained with --feature-dims is rendered in style 0 of --work. All metrics are computed whose needs are met (--list
    shows them); what is left out, and why, is printed. Baselines: "repeat first frame", "source shown as is", and for
    a coarse scale the real frames downsampled to its size and upsampled again. With --unpaired, DATA needs no frames:
    its maps are rendered, and the set of outputs is compared with the set of other real frames. Writes
    evaluation.json, a plot over time and a contact sheet (source | output | real), and prints tables. A report on the
    same model and footage with the same settings is kept; --overwrite measures again.
    """

    data: str | None = setting(None, "Workspace with the held-out footage.", argument=True)
    metrics: tuple[str, ...] = setting(
        (), "Metric to compute; default: all whose needs are met.", metavar="NAME", choices=metric_names
    )
    list: bool = setting(False, "Print the table of metrics (needs, weights, counts, sources) and do nothing else.")
    unpaired: str | None = setting(
        None,
        "Workspace with real frames to compare with, where DATA has none beside its maps: FID, KID, VFID, FVD, label "
        "fidelity, landmark and pose error, pose recall only.",
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
        affects_output=False,
    )
    first_frame_model: str | None = setting(
        None,
        "Checkpoint folder of the image model that makes the first frames (models trained with --first-frame image); "
        "default: checkpoints/pix2pixhd of --work.",
        metavar="FOLDER",
    )
    settle: int = setting(0, SETTLE, ge=0, le=1000, metavar="N")
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
    device: str = setting("auto", f"{DEVICES}.", affects_output=False)
    precision: Precision = setting("auto", PRECISION)
    threads: int = setting(
        0, "CPU threads of torch; 0: as many as there are idle cores.", ge=0, le=MAX_THREADS, affects_output=False
    )


def _check(config: EvaluateConfig) -> None:
    """Refuse settings without effect, also before the other tables of a recipe run."""
    if config.list:
        return
    if config.data is None:
        raise V2VError("setting-required", "DATA is missing: the workspace to measure on.", "Give `v2v evaluate DATA`.")
    others = ("unpaired", "segmenter", "segmenter_keep", "first_frame_model", "settle", "real_flow", "precision")
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
    from v2vkit.stages.evaluate_plan import find_report

    try:
        record = find_report(config, options)
    except V2VError:  # opening what is missing or damaged says what to do
        record = None
    if record is not None and record.done and not options.overwrite:
        print(f"{record.folder.url}: up to date, nothing to do. --overwrite measures again.")
        return record.problems
    files, problems = (_predict if config.prediction else _compare)(config, options)
    if record is not None:
        record.finish(files, problems)
    return problems


def _status(config: EvaluateConfig, options: RunOptions, pending: set[tuple[str, str]]) -> str:
    """The state of the report; an evaluation that cannot be opened yet is `missing`."""
    from v2vkit.stages.evaluate_plan import find_report, remade_inputs

    try:
        record = find_report(config, options)
    except V2VError:
        return "missing"
    if record.old is None:
        return "missing"
    if options.overwrite:
        return "stale: --overwrite measures again"
    if remade := remade_inputs(config, options, pending):
        return f"stale: {', '.join(remade)} will be remade first"
    if record.changes:
        return f"stale: changed {', '.join(record.changes)}"
    return "done" if record.done else "missing"


def _compare(config: EvaluateConfig, options: RunOptions) -> tuple[list[str], list[str]]:
    """Measure a model of frames; the files of the report, and the problems."""
    from v2vkit.checkpoint.find_model import describe_checkpoint
    from v2vkit.evaluation.sheet import Sheet
    from v2vkit.inference.workspace import count_missing_instances, maps_warning
    from v2vkit.stages.evaluate_clip import measure_shots
    from v2vkit.stages.evaluate_plan import length, open_evaluation

    opened = open_evaluation(config, options)
    info, reader = opened.info, opened.reader
    print(describe_checkpoint(Folder(options.work), opened.checkpoint, info))
    if (note := maps_warning(info, opened.manifests)) is not None:
        print(note)
    sheet = Sheet(max(length(shot) for shot in opened.shots), config.columns)
    files = _report(opened, measure_shots(opened, sheet), sheet, config, options)
    lacking = [
        f"{reason}: {counted(number, 'frame')}" for reason, number in count_missing_instances(info, reader).items()
    ]
    short = [f"{clip.name}: left out, it has {counted(clip.num_frames, 'frame')}" for clip in opened.short]
    return files, [*lacking, *short]


def _predict(config: EvaluateConfig, options: RunOptions) -> tuple[list[str], list[str]]:
    """Measure models of prediction; the files of the report, and the problems."""
    from v2vkit.stages.evaluate_plan import report_folder
    from v2vkit.stages.evaluate_prediction import evaluate_prediction

    return evaluate_prediction(config, options, report_folder(config, options))


def _report(
    opened: "Opened", rows: "list[Row]", sheet: "Sheet", config: EvaluateConfig, options: RunOptions
) -> list[str]:
    """Write the report and print its tables; returns the names of its files."""
    from v2vkit.artifacts.images import encode_png
    from v2vkit.checkpoint.model_info import downsampled_size
    from v2vkit.evaluation.metrics.contract import WithPictures
    from v2vkit.evaluation.report import JSON_NAME, PLOT_NAME, about_metrics, notes, table, write_report
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
            "settle": config.settle,
            "steps": info.steps,
            "fingerprint": info.fingerprint,
            "precision": render_precision(opened.session.generator, opened.session.precision),
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
    files = [JSON_NAME, PLOT_NAME, *(f"{name}.png" for name in pictures)]
    print(f"{out.url}/{', '.join(files)}")
    return files


COMMAND = Command(
    name="evaluate",
    config=EvaluateConfig,
    call=_evaluate,
    check=_check,
    status=_status,
    options=("work", "overwrite"),
)
