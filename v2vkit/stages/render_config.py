"""Settings of `v2v render`."""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from v2vkit.classes.table import ClassTableSetting
from v2vkit.config import MAX_THREADS, Precision, RateSetting, SizeSetting, StageConfig, as_text, setting
from v2vkit.engine.devices import DEVICES, PRECISION
from v2vkit.inference.backend_names import BACKEND, Backend
from v2vkit.inference.settling import SETTLE


class RenderConfig(StageConfig):
    """Render a video with the finest checkpoint of the workspace.

    SOURCE is a video or a folder of pictures (face and pose models, and street models whose labels `v2v segment` made),
    a folder of label maps (street models), or with --maps a workspace with finished source maps. Otherwise source maps
    are made on the fly with the settings in the checkpoint. Shot cuts are found as in training, and every shot starts
    without history. Rendering is one pass in constant memory with one output frame per input frame: a video keeps its
    time stamps and audio; a folder or --maps gives a constant rate and no sound. TARGET is a video or, if it is a
    folder or ends in a slash, a folder of numbered pictures (000000.png; no sound). An existing video is replaced when
    the new one is complete, an existing folder only if it is empty or an earlier rendering. Ctrl-C completes TARGET
    with the frames so far; pressed twice, it leaves TARGET as it was.

    SOURCE - reads a video from standard input (Matroska, MPEG-TS, y4m ...), TARGET - writes to standard output, with
    messages on standard error. The latency is about 10 frames, because cuts, smoothing and crops look ahead.
    """

    source: str = setting(
        ..., "Video, folder of pictures or label maps, workspace, or - (standard input).", argument=True
    )
    target: str = setting(..., "Video (.mp4, .mov or .mkv) or folder to write, or - (standard output).", argument=True)
    checkpoint: str | None = setting(
        None, "Checkpoint, such as spatial-1; default: the finest (spatial-3, else spatial-2 and so on)."
    )
    maps: bool = setting(False, "SOURCE is a workspace with finished annotations (labels, sketches, poses ...).")
    instances: str | None = setting(
        None,
        "Folder with one instance map (16-bit PNG) per label map of SOURCE, as for ingest.",
        metavar="FOLDER",
    )
    depth: str | None = setting(
        None,
        "Folder with one depth map per label map of SOURCE, in the format and unit of training.",
        metavar="FOLDER",
    )
    densepose: str | None = setting(None, "Folder with one DensePose map per label map of SOURCE.", metavar="FOLDER")
    classes: ClassTableSetting | None = setting(
        None,
        "Class table of the label maps of SOURCE, such as carla for a simulator's, if it is another than that of the "
        "training footage. Classes of the same name are the same; --remap says what the others become.",
        metavar="TABLE",
    )
    remap: ClassTableSetting | None = setting(
        None,
        "With --classes: TOML file with the model's classes, each of which lists the classes of SOURCE that it merges; "
        "classes listed nowhere become 255 (no label).",
        metavar="FILE",
    )
    keep_names: bool = setting(
        False, "Name the pictures in the folder TARGET like those of the folder SOURCE (without Cityscapes' suffixes)."
    )
    compare: bool = setting(
        False, "Write source map | output side by side; for a video or pictures: frame | source map | output."
    )
    frames: str | None = setting(
        None,
        "Video or folder with a frame for each label map of SOURCE, such as a simulator's; models conditioned on edges "
        "or pictures need it.",
        metavar="PATH",
    )
    cuts: Literal["adaptive", "content", "none"] | None = setting(
        None, "How shot cuts of the video are found, as for ingest; default: as for the training footage."
    )
    align: bool = setting(
        False,
        "Zoom and shift every shot of the video so that its first face (or body) has the typical size and position of "
        "the training footage: for other people and other cameras.",
    )
    retarget: bool = setting(
        False,
        "Give the landmarks (or the skeleton) of the video the proportions and the place of the training footage: per "
        "part of the face, or limb lengths, height and ground line. The first 48 frames of a shot are looked at first.",
    )
    paste_back: bool = setting(
        False,
        "Put the rendered face back into the frame of the video, with a soft edge and in its full size: for face swap "
        "and anonymisation. With --retarget, the face keeps its place.",
    )
    fps: RateSetting | None = setting(
        None,
        "Frame rate of a folder of pictures or label maps, such as 25 (default: that of the training footage), or of "
        "a raw video stream (.264, .hevc, .m2v), which has no time stamps.",
    )
    stream: int | None = setting(
        None,
        "Number of the video stream, from 0, in a video with several; default: one that is not a still picture.",
        ge=0,
    )
    keep_interlaced: bool = setting(False, "Do not deinterlace interlaced video.")
    start: float = setting(0.0, "Skip this many seconds at the start of the video.", ge=0, allow_inf_nan=False)
    duration: float | None = setting(
        None,
        "Render at most this many seconds of the video.",
        gt=0,
        allow_inf_nan=False,
    )
    first_frames: str | None = setting(
        None,
        "Folder with real images that replace the first frames of every shot (two, the history of models trained "
        "here), framed like the training footage.",
        metavar="FOLDER",
    )
    first_frame_model: str | None = setting(
        None,
        "Checkpoint folder of the image model that makes the first frames (models trained with --first-frame image); "
        "default: checkpoints/pix2pixhd of the workspace.",
        metavar="FOLDER",
    )
    style: str = setting(
        "0",
        "Number of the style, from 0, or a styles.json whose first style is taken (models trained with --feature-dims; "
        "see `v2v sample-style`).",
        metavar="N|FILE",
    )
    styles: str | None = setting(
        None, "Folder of styles from `v2v sample-style`; default: that of --work.", metavar="FOLDER"
    )
    track: bool | None = setting(
        None,
        "Give every object of the label maps one id through its shot, so that it keeps its style; default: if the "
        "training maps were tracked (`v2v track`), or if objects are found in a video.",
    )
    relabel: tuple[str, ...] = setting(
        (),
        "Replace a label by another one, by ids or names, such as tree=building. All are replaced at once, so "
        "tree=building and building=tree swap the two.",
        metavar="FROM=TO",
    )
    in_region: str | None = setting(
        None, "Relabel only in this rectangle of the frame, in pixels from the top left corner.", metavar="X,Y,W,H"
    )
    objects: tuple[int, ...] = setting(
        (), "Relabel only the object with this id in the instance maps (after tracking).", metavar="ID"
    )
    in_frames: str | None = setting(
        None, "Relabel only frames A to B - 1 of the output, counted from 0; A: and :B are open.", metavar="A:B"
    )
    refresh: int = setting(
        0, "Drop the history every N frames of a shot, cross-faded over 8 frames; 0 = never.", ge=0, metavar="N"
    )
    settle: int = setting(0, f"{SETTLE} With --refresh, after every new beginning too.", ge=0, le=1000, metavar="N")
    anchor_colours: bool = setting(
        False,
        "Keep the mean and contrast of the colours at those of the first 48 frames of the shot; slow changes of the "
        "scene are removed as well.",
    )
    max_frames: int | None = setting(None, "Stop after this many frames, as Ctrl-C does.", ge=1)
    save_state: str | None = setting(
        None, "Write the state after the last frame, from which --resume-state continues.", metavar="FILE"
    )
    resume_state: str | None = setting(
        None,
        "Continue a rendering that ended early. The same SOURCE continues after its last rendered frame, with the same "
        "frames as without a break; another SOURCE is taken as the continuation. TARGET gets the remaining frames "
        "only: name a new one.",
        metavar="FILE",
    )
    provenance: bool = setting(
        True,
        "Say in the metadata of the video (or of every picture) that it is synthetic, with program, version and model.",
    )
    edge_weights: str | None = setting(
        None,
        "Weights a1,...,a6 of the edge network's six outputs, from the finest to the coarsest, then the fused one "
        "(models of --method s-flow); each choice is another variant of the scene. Default: equal weights.",
        metavar="A1,...,A6",
    )
    edge_seed: int | None = setting(None, "Seed that draws these weights at random.", ge=0, lt=1 << 63)
    edge_variants: int = setting(
        0,
        "Number of variants to render side by side, with the seeds from --edge-seed on (default: from 0); 0 = off.",
        ge=0,
        le=16,
    )
    crf: int = setting(18, "Quality of the encoding, 0 (lossless) to 51 (worst).", ge=0, le=51)
    codec: str = setting("libx264", "Video encoder.")
    container: Literal["matroska", "y4m"] | None = setting(
        None, "Container on standard output: matroska, or y4m (raw, no time stamps); default: matroska."
    )
    device: str = setting("auto", f"{DEVICES}.")
    precision: Precision = setting("auto", PRECISION)
    threads: int = setting(
        0, "CPU threads of torch; 0 = the number of idle cores, adapted while rendering.", ge=0, le=MAX_THREADS
    )
    backend: Backend = setting("torch", BACKEND)
    size: SizeSetting | None = setting(
        None, "Size of the frames; default: that of the training footage. The quality at other sizes is not measured."
    )
    tile: int | None = setting(
        None,
        "Generate larger frames in overlapping tiles of this many pixels, where a whole frame does not fit into "
        "memory. Tiles differ a little in brightness.",
        ge=32,
    )

    _number = field_validator("style", mode="before")(as_text)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.remap is not None and self.classes is None:
            raise ValueError("--remap needs --classes, the table of the label maps")
        return self
