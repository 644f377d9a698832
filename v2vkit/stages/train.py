"""`v2v train`: finished artifacts in, `checkpoints/<stage>` out."""

import hashlib
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, Manifest, ShardEntry
from v2vkit.errors import V2VError
from v2vkit.stages.base import Build, Stage
from v2vkit.training.config import TrainConfig

if TYPE_CHECKING:
    from v2vkit.maps.clips import ClipReader
    from v2vkit.maps.source import SourceConfig

_KINDS = {"face": "sketches", "street": "labels"}
_CONTEXT = 2


def _resolve(config: TrainConfig, work: Folder) -> TrainConfig:
    """Fill in the domain from the artifacts that are there."""
    if config.domain is not None:
        return config
    found = [domain for domain, kind in _KINDS.items() if (work / kind).exists(MANIFEST)]
    if len(found) == 1:
        return config.model_copy(update={"domain": found[0]})
    if found:
        raise V2VError(
            f"{work.url} holds maps of several domains ({', '.join(_KINDS[name] for name in found)}).",
            f"Say which to train on: --domain {' or '.join(found)}.",
        )
    raise V2VError(
        f"There are no source maps in {work.url}: neither sketches nor labels.",
        "Run `v2v make-sketches` (faces), or `v2v ingest --labels FOLDER` (streets).",
    )


def _inputs(config: TrainConfig) -> tuple[str, ...]:
    assert config.domain is not None
    return ("frames", _KINDS[config.domain], "flow")


def _check(config: TrainConfig, manifests: dict[str, Manifest]) -> None:
    """What would fail hours later."""
    frames, flow = manifests["frames"], manifests["flow"]
    longest = max((clip.num_frames for clip in frames.clips), default=0)
    if longest <= _CONTEXT:
        raise V2VError(
            f"The longest clip has {longest} frames; training needs at least {_CONTEXT + 1}.",
            "Ingest longer shots, or lower --min-frames only for clips that are long enough.",
        )
    sizes = {(clip.width, clip.height) for clip in frames.clips}
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)[:4])
        raise V2VError(f"The frames have several sizes ({listed}).", "Ingest again with one --size WIDTHxHEIGHT.")
    have = set(flow.config.get("strides", ()))
    need = {3**scale for scale in range(max(1, config.temporal_scales))}
    if not need <= have:
        strides = " ".join(f"--strides {stride}" for stride in sorted(need))
        raise V2VError(
            f"The flow has strides {sorted(have)}; --temporal-scales {config.temporal_scales} needs {sorted(need)}.",
            f"Run `v2v extract-flow {strides} --overwrite`, or train with fewer --temporal-scales.",
        )
    if config.domain == "face" and (config.foreground or config.flip):
        raise V2VError("--foreground and --flip are for streets.", "Leave them out for faces.")
    if config.schedule.total_epochs < 1:
        raise V2VError("There is nothing to train: no epochs.", "Raise --epochs or --decay-epochs.")


def _source_config(config: TrainConfig, reader: "ClipReader", labels: Manifest) -> "SourceConfig":
    """The source map's settings; the number of labels is looked up in the maps when it was not given."""
    from v2vkit.maps.source import SourceConfig

    assert config.domain is not None
    if config.domain == "face":
        return SourceConfig(domain="face")
    number = config.num_labels or labels.config.get("num_labels") or _count_labels(reader)
    wrong = [label for label in config.foreground if not 0 <= label < number]
    if wrong:
        raise V2VError(
            f"--foreground {wrong[0]} is no label: there are {number} (0 to {number - 1}).",
            "Give ids of the label maps.",
        )
    return SourceConfig(domain="street", num_labels=number, edges=config.edges)


def _count_labels(reader: "ClipReader") -> int:
    from v2vkit.artifacts.images import decode_gray

    highest = 0
    for clip in reader.clips:
        for t in range(clip.num_frames):
            labels = decode_gray(reader.read("labels", clip.name, t, "label.png"))
            known = labels[labels != 255]
            highest = max(highest, int(known.max(initial=0)))
    return highest + 1


def _build(build: Build) -> tuple[ShardEntry, ...]:
    """Print the plan, train, and give the checkpoint's files."""
    import torch

    from v2vkit.maps.clips import ClipReader
    from v2vkit.synthesis.model import MODEL, ModelInfo, pick_device
    from v2vkit.training.build import build_generator_config, build_trainer
    from v2vkit.training.dataset import SequenceDataset
    from v2vkit.training.loop import train
    from v2vkit.training.plan import measure, plan_text

    config: TrainConfig = build.config
    assert config.domain is not None
    if config.threads:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    work = Folder(build.options.work)
    reader = ClipReader(work, build.inputs)
    kind = _KINDS[config.domain]
    source = _source_config(config, reader, build.inputs[kind])
    strides = tuple(3**scale for scale in range(max(1, config.temporal_scales)))
    dataset = SequenceDataset(reader, source, strides=strides, flip=config.flip)
    maps, clip = build.inputs[kind], reader.clips[0]
    info = ModelInfo(
        stage=config.stage,
        fingerprint=build.fingerprint,
        generator=build_generator_config(config, source),
        source=source,
        width=clip.width,
        height=clip.height,
        first_frame=config.first_frame,
        frames=build.inputs["frames"].config,
        maps=maps.config,
        maps_stage=maps.stage,
        estimator=maps.estimator,
    )
    print(plan_text(config, dataset, device, measure(config, dataset, device)), flush=True)
    trainer = build_trainer(config, source, device)
    writer = _open_tensorboard(config, work)
    try:
        train(config, trainer, dataset, build.folder, info, device=device, writer=writer)
    finally:
        if writer is not None:
            writer.close()
    data = build.folder.read(MODEL)
    digest = hashlib.sha256(data).hexdigest()
    return (ShardEntry(name=MODEL, bytes=len(data), sha256=digest, num_samples=0),)


def _open_tensorboard(config: TrainConfig, work: Folder) -> Any:
    """A SummaryWriter in <work>/logs/<stage>; None when switched off, not installed, or the workspace is remote."""
    if not config.tensorboard or "://" in work.url:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed; no logs are written. To have them: pip install 'v2vkit[tensorboard]'")
        return None
    return SummaryWriter(f"{work.path}/logs/{config.stage}")


STAGE = Stage(
    name="train",
    summary="Train one stage of the model on the artifacts of a workspace.",
    config=TrainConfig,
    version=1,
    output=lambda config: f"checkpoints/{config.stage}",
    inputs=_inputs,
    resolve=_resolve,
    check=_check,
    build=_build,
)
