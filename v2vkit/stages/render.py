"""`v2v render`: a driving video (or maps) in, a rendered video out."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.config import Precision, StageConfig, as_text, parse_rate, setting
from v2vkit.engine.devices import DEVICES, PRECISION, pick_device
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Command, RunOptions, load_inputs, refuse_workspaces

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.inference.driving import Drive, Driven
    from v2vkit.models.any_generator import AnyGenerator
    from v2vkit.video.encode import VideoWriter
    from v2vkit.video.label_files import MapKind
    from v2vkit.video.pictures import PictureWriter


class RenderConfig(StageConfig):
    """Render a video with the finest checkpoint of the workspace.

    SOURCE is a video or a folder of pictures (face, pose and picture models, and street models whose labels `v2v
    segment` made), a folder of label maps (street models; others that the model needs, too, with --depth or
    --densepose), or with --maps a workspace whose source maps are there already. Source maps
    are made on the fly with the settings that the checkpoint carries, and every shot begins anew, its cuts found as in
    training. One pass, constant memory; as many frames come out as go in, of a video with their time stamps and audio;
    of a folder or with --maps at a constant rate and without sound. TARGET is a video or, where it is a folder or ends
    in a slash, a folder of numbered pictures (000000.png; no sound). One that exists is replaced when the new one is
    complete, a folder only if it is empty or such a rendering.
    """

    source: str = setting(..., "Driving video, folder of pictures or label maps, or workspace.", argument=True)
    target: str = setting(..., "The video (.mp4, .mov or .mkv) or folder to write.", argument=True)
    checkpoint: str | None = setting(
        None, "Checkpoint to use, such as spatial-1; when not given the finest: spatial-3 before spatial-2 and so on."
    )
    maps: bool = setting(False, "SOURCE is a workspace with finished maps.")
    instances: str | None = setting(
        None,
        "Folder with instance maps (16-bit PNG), one for each label map of SOURCE, as `v2v ingest` takes them.",
        metavar="FOLDER",
    )
    depth: str | None = setting(
        None,
        "Folder with depth maps, one for each label map of SOURCE, stored as those of the training's.",
        metavar="FOLDER",
    )
    densepose: str | None = setting(
        None, "Folder with DensePose maps, one for each label map of SOURCE.", metavar="FOLDER"
    )
    compare: bool = setting(False, "Write source | output side by side; of footage: frame | source map | output.")
    cuts: Literal["adaptive", "content", "none"] | None = setting(
        None, "How shot cuts of the driving video are found; as for ingest of the training footage when not given."
    )
    align: bool = setting(
        False,
        "Zoom and shift every shot of the driving video so that its first face (or body) is as large and where the "
        "training's mostly were: for other people, and other cameras.",
    )
    fps: str | None = setting(
        None, "Frame rate of a folder of pictures or label maps, such as 25; that of the training's when not given."
    )
    start: float = setting(0.0, "Begin so many seconds into the driving video.", ge=0, allow_inf_nan=False)
    duration: float | None = setting(
        None,
        "Render only so many seconds of the driving video.",
        gt=0,
        allow_inf_nan=False,
    )
    first_frames: str | None = setting(
        None,
        "Folder with real images that take the place of the first frames of every shot (two, as the models trained "
        "here see), framed as the training's were.",
        metavar="FOLDER",
    )
    first_frame_model: str | None = setting(
        None,
        "Checkpoint folder of the image model that makes the first frames (models trained with --first-frame image); "
        "checkpoints/image of the workspace when not given.",
        metavar="FOLDER",
    )
    style: int = setting(
        0, "Number of the style to render in (models trained with --feature-dims; `v2v sample-style`).", ge=0
    )
    styles: str | None = setting(
        None, "Folder of styles that `v2v sample-style` wrote; those of --work when not given.", metavar="FOLDER"
    )
    crf: int = setting(18, "Quality of the H.264 encoding; 0 is lossless.", ge=0, le=51)
    codec: str = setting("libx264", "Video encoder.")
    device: str = setting("auto", f"{DEVICES}.")
    precision: Precision = setting("auto", PRECISION)
    threads: int = setting(0, "CPU threads of torch; 0 = torch's choice.", ge=0)

    _number = field_validator("fps", mode="before")(as_text)

    @field_validator("fps")
    @classmethod
    def _rate(cls, text: str | None) -> str | None:
        return None if text is None else str(parse_rate(text))


def _render(config: RenderConfig, options: RunOptions) -> list[str]:
    """Open everything that can fail, then decode, map, generate and encode at the same time."""
    import torch
    from tqdm import tqdm

    from v2vkit.checkpoint.model_file import describe_checkpoint, find_model, load_model
    from v2vkit.inference.render import pace, render_frames, side_by_side, warm_up, write_each
    from v2vkit.inference.styles import find_style
    from v2vkit.video.pictures import names_folder

    _keep_source(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    checkpoint = find_model(Folder(options.work), config.checkpoint)
    generator, info = load_model(checkpoint)
    style = find_style(Folder(options.work), config.styles, config.style, info)
    device = pick_device(config.device)
    generator = generator.to(device)
    first, opener = _first_frames(config, info), _opener(config, options, info)
    drive = _open_drive(config, info)
    warm_up(generator, info.width, info.height, info.halvings, config.precision)
    if opener is not None:
        warm_up(opener.to(device), info.width, info.height, precision=config.precision)
    frames = render_frames(
        generator,
        pace(drive, device),
        halvings=info.halvings,
        first_frames=first,
        opener=opener,
        style=style,
        precision=config.precision,
    )
    writer = _open_writer(config, drive)
    print(describe_checkpoint(Folder(options.work), checkpoint, info), flush=True)
    if drive.note is not None:
        print(drive.note, flush=True)
    count = 0

    def write(driven: "Driven", image: "NDArray[np.uint8]") -> None:
        shown = side_by_side(info.conditioning, driven, image) if config.compare else image
        writer.write(shown, pts=driven.pts, duration=driven.duration)

    # The network runs in this thread, the one that warmed it up: OpenMP keeps a team of threads for every thread that
    # calls it, and two teams are more than there are cores.
    with writer, tqdm(total=drive.num_frames, desc="render", unit="frame", disable=None) as progress:
        for written in write_each(frames, write, device):
            count += written
            progress.update(written)
    if names_folder(config.target):
        lost = " The sound is left out: pictures have none." if drive.audio_from is not None else ""
        print(f"{config.target}: {counted(count, 'picture')}.{lost}")
    else:
        print(f"{config.target}: {counted(count, 'frame')}, {float(drive.fps):g} frames per second.")
    problems = [f"{reason}: {counted(number, 'frame')} of {config.source}" for reason, number in drive.missing.items()]
    return [*problems, *writer.problems]


def _open_writer(config: RenderConfig, drive: "Drive") -> "VideoWriter | PictureWriter":
    from v2vkit.video.encode import VideoWriter
    from v2vkit.video.pictures import PictureWriter, names_folder

    if names_folder(config.target):
        if {"crf", "codec"} & config.model_fields_set:
            raise V2VError(f"--crf and --codec encode a video, which {config.target} is not.", "Leave them out.")
        return PictureWriter(config.target)
    return VideoWriter(
        config.target,
        fps=drive.fps,
        time_base=drive.time_base,
        crf=config.crf,
        codec=config.codec,
        audio_from=drive.audio_from,
        audio_span=drive.audio_span,
    )


def _keep_source(config: RenderConfig) -> None:
    """Refuses to replace what drives by its rendering, also where the two names lead to one file.

    Raises:
        V2VError: TARGET is SOURCE.
    """
    try:
        same = Path(config.target).samefile(config.source)
    except (OSError, ValueError):
        return  # one of them is no file: whoever opens it tells what is the matter
    if same:
        what = "folder" if Path(config.source).is_dir() else "video"
        raise V2VError(
            f"{config.target} is the driving {what} {config.source} itself, which the rendering would replace.",
            "Give the rendering another name.",
        )


# Settings, what they are good for, and the drivers that have it.
_ONLY_FOR: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = (
    (("start", "duration"), "--start and --duration choose a part of a video", ("video",)),
    (("cuts",), "--cuts looks for the shots of a video", ("video", "pictures")),
    (("align",), "--align frames a video anew", ("video", "pictures")),
    (("instances",), "--instances belongs to a folder of label maps", ("labels",)),
    (("depth",), "--depth belongs to a folder of label maps", ("labels",)),
    (("densepose",), "--densepose belongs to a folder of label maps", ("labels",)),
    (("fps",), "--fps is the rate of a folder of pictures or label maps", ("pictures", "labels")),
)


def _open_drive(config: RenderConfig, info: "ModelInfo") -> "Drive":
    from v2vkit.inference.driving import drive_by_images, drive_by_video
    from v2vkit.inference.mapped import drive_by_label_folder, driver_of

    if not config.maps:
        refuse_workspaces([config.source])
    driver = "maps" if config.maps else driver_of(config.source, info)
    for names, use, drivers in _ONLY_FOR:
        if driver not in drivers and any(getattr(config, name) for name in names):
            them = "it" if len(names) == 1 else "them"
            raise V2VError(f"{use}, which {config.source} is not.", f"Leave {them} out.")
    if config.maps:
        return _open_maps(config, info)
    if info.generator.takes_flow:
        raise V2VError(
            "This model (COVST) moves its features along flow that it is given; nothing here computes it from "
            f"{config.source}.",
            "Give a workspace with maps and flow (`v2v extract-flow`) and --maps.",
        )
    fps = None if config.fps is None else Fraction(config.fps)
    if driver == "labels":
        given: dict[MapKind, str | None] = {"depth": config.depth, "densepose": config.densepose}
        beside = {kind: folder for kind, folder in given.items() if folder is not None}
        return drive_by_label_folder(config.source, info, instances=config.instances, beside=beside, fps=fps)
    if driver == "pictures":
        return drive_by_images(config.source, info, fps=fps, cuts=config.cuts, align=config.align, device=config.device)
    return drive_by_video(
        config.source,
        info,
        start=config.start,
        duration=config.duration,
        cuts=config.cuts,
        align=config.align,
        device=config.device,
    )


def _open_maps(config: RenderConfig, info: "ModelInfo") -> "Drive":
    """The maps of a workspace as what drives."""
    from v2vkit.artifacts.manifest import MANIFEST
    from v2vkit.checkpoint.model_file import refuse_other_sizes
    from v2vkit.inference.mapped import drive_by_artifact

    work = Folder(config.source)
    kinds = info.conditioning.artifacts
    others = [("frames", (work / "frames").exists(MANIFEST)), ("flow", info.generator.takes_flow)]
    manifests = load_inputs(work, (*kinds, *(other for other, wanted in others if wanted)))
    if not manifests[kinds[0]].num_frames:
        raise V2VError(f"The artifact {kinds[0]} in {work.url} has no frames.", "Name another workspace.")
    refuse_other_sizes(info, manifests[kinds[0]].clips, work.url)
    return drive_by_artifact(work, manifests, info)


def _opener(config: RenderConfig, options: RunOptions, info: "ModelInfo") -> "AnyGenerator | None":
    """The image model that makes the first frames; none where real ones are given."""
    from v2vkit.inference.first_frames import find_opener

    if config.first_frames is None:
        return find_opener(Folder(options.work), config.first_frame_model, info)
    if config.first_frame_model is not None:
        raise V2VError("--first-frames and --first-frame-model both give the first frames.", "Give one of them.")
    return None


def _first_frames(config: RenderConfig, info: "ModelInfo") -> "NDArray[np.uint8] | None":
    """The L real frames to begin from; a model trained only from real frames needs them."""
    length = info.generator.history
    if config.first_frames is None:
        if info.first_frame == "real":
            raise V2VError(
                "This model was trained to begin from real frames (--first-frame real).",
                f"Give a folder with {length} images with --first-frames, or train with --first-frame self.",
            )
        return None
    if not length:
        raise V2VError("This model makes every frame by itself and takes no first ones.", "Leave out --first-frames.")
    from v2vkit.inference.framing import frame_images
    from v2vkit.video.images import read_image
    from v2vkit.video.sources import find_sequence

    source = find_sequence(config.first_frames)
    if len(source.images) < length:
        raise V2VError(
            f"{config.first_frames} holds {len(source.images)} images; {length} are needed.", "Add the missing ones."
        )
    return frame_images([read_image(source.image_path(number)) for number in range(length)], info)


def _check(config: RenderConfig) -> None:
    from v2vkit.video.pictures import check_pictures, names_folder
    from v2vkit.video.targets import check_codec, check_target

    if names_folder(config.target):
        check_pictures(config.target, later=True)
    else:
        check_target(config.target, later=True)
        check_codec(config.codec)


COMMAND = Command(
    name="render",
    config=RenderConfig,
    call=_render,
    check=_check,
)
