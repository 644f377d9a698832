"""What can be wrong with the settings of training, found before any work starts."""

from v2vkit.artifacts.manifest import Manifest
from v2vkit.checkpoint.model_file import halved_size
from v2vkit.conditions.conditioning import conditioning_of
from v2vkit.engine.launcher import launched_processes
from v2vkit.errors import V2VError
from v2vkit.models.generator import HISTORY
from v2vkit.models.perceptual import MIN_SIDE
from v2vkit.training.build import build_generator_config
from v2vkit.training.config import TrainConfig, flag_of


def check_settings(config: TrainConfig, manifests: dict[str, Manifest]) -> None:
    """Whether the settings fit together and to the artifacts.

    Args:
        manifests: of the artifacts that training reads, by kind.

    Raises:
        V2VError: they do not.
    """
    _check_images(config)
    _check_idle(config)
    frames, context = manifests["frames"], 0 if config.images else HISTORY
    longest = max((clip.num_frames for clip in frames.clips), default=0)
    if longest <= context:
        raise V2VError(
            f"The longest clip has {longest} frames; training needs at least {context + 1}.",
            "Ingest longer shots, or raise --max-frames or --duration of `v2v ingest`.",
        )
    sizes = {(clip.width, clip.height) for clip in frames.clips}
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)[:4])
        raise V2VError(f"The frames have several sizes ({listed}).", "Ingest again with one --size WIDTHxHEIGHT.")
    have = set(manifests["flow"].config.get("strides", ())) if config.strides else set()
    need = set(config.flow_strides)
    if not need <= have:
        strides = " ".join(f"--strides {stride}" for stride in sorted(need))
        raise V2VError(
            f"The flow has strides {sorted(have)}; --temporal-scales {config.temporal_scales} "
            f"and --max-step {config.max_step} need {sorted(need)}.",
            f"Run `v2v extract-flow {strides} --overwrite`, or train with less of both.",
        )
    if config.halvings < 0:
        raise V2VError(
            f"{config.stage} has {config.scale} scales, but --num-scales is {config.num_scales}.",
            f"Give --num-scales {config.scale} or more, or leave it out.",
        )
    if config.fix_epochs and config.scale == 1:
        raise V2VError("--fix-epochs is for spatial-2 and -3: spatial-1 has only one scale.", "Leave it out.")
    if config.feature_dims and not config.conditions_have("has_regions"):
        raise V2VError(
            f"--feature-dims is for labels and faces: {'+'.join(config.conditions)} has no regions.", "Leave it out."
        )
    if config.feature_dims and config.first_frame == "image":
        raise V2VError(
            "--feature-dims does not go with --first-frame image: the image model knows nothing of these features.",
            "Train with --first-frame self or real.",
        )
    if config.batch_size % launched_processes():
        raise V2VError(
            f"--batch-size {config.batch_size} cannot be shared out to {launched_processes()} processes.",
            f"Give a multiple of {launched_processes()}.",
        )
    if config.norm == "batch" and config.batch_size > launched_processes():
        raise V2VError(
            "--norm batch over several sequences would train another function than rendering runs: it sees one frame.",
            "Give one sequence to a process: --batch-size 1, or as many as there are processes.",
        )
    if config.vgg_weights and (config.lambda_vgg or config.lambda_style):
        _check_vgg(config, *next(iter(sizes)))
    if config.schedule.total_epochs < 1:
        raise V2VError("There is nothing to train: no epochs.", "Raise --epochs or --decay-epochs.")


def _check_idle(config: TrainConfig) -> None:
    """Settings that mean nothing in this training are refused, not ignored.

    Except beside the ablation switches (--no-flow, --temporal-scales 0): those turn off one part of a recipe that sets
    it up, and the plan says what is off.

    Raises:
        V2VError: there are some.
    """
    videos, has = not config.images, config.conditions_have
    rules = (
        (not has("foreground"), ("num_labels", "edges", "foreground"), "are for streets"),
        (not has("mirrors"), ("flip",), "is for streets, and for pictures and depth"),
        (not has("has_bodies"), ("lambda_face",), "is for poses"),
        (not has("has_parts"), ("drop_parts",), "is for poses and DensePose"),
        (not has("shows_frame"), ("picture_skip",), "is for --condition picture"),
        ("depth" not in config.conditions, ("depth_near", "depth_far"), "are for --condition depth"),
        (videos and config.first_frame != "self", ("drop_history", "lambda_mask"), "are for --first-frame self"),
        (not config.vgg_weights, ("lambda_vgg", "lambda_style"), "need --vgg-weights FILE"),
    )
    for idle, names, use in rules:
        if idle and (given := config.given(*names)):
            flags = [flag_of(name) for name in names]
            listed = f"{', '.join(flags[:-1])} and {flags[-1]}" if len(flags) > 1 else flags[0]
            raise V2VError(
                f"{listed} {use}.",
                f"Leave out {' and '.join(given)}.",
            )


def _check_vgg(config: TrainConfig, width: int, height: int) -> None:
    side = min(halved_size(width, height, config.halvings))
    if side < MIN_SIDE:
        raise V2VError(
            f"The VGG loss needs pictures of {MIN_SIDE} pixels and more; {config.stage} trains at {side}.",
            "Leave --vgg-weights out of this stage, or use larger frames or fewer --num-scales.",
        )


def _check_images(config: TrainConfig) -> None:
    """Whether the settings of image generators stand where they have a meaning, and only there, and fit together.

    Raises:
        V2VError: they do not.
    """
    if not config.images:
        if config.covst or config.num_enhancers:
            raise V2VError("--covst and --num-enhancers are for --stage image.", "Leave them out.")
        return
    names = ["num_scales", "fix_epochs", "foreground", "composition", "lambda_flow", "lambda_warp", "lambda_mask"]
    names += ["lambda_temporal", "video_frames", "sparse", "warm_up"]
    if not config.covst:
        names.append("max_step")
    if wrong := config.given(*names):
        raise V2VError(
            f"{' and '.join(wrong)} belong to video models, not to --stage image.",
            "Leave them out; --num-enhancers makes the image generator finer.",
        )
    build_generator_config(config, conditioning_of("face"))  # refuses sizes that do not fit, in any domain
