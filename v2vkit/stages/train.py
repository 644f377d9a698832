"""`v2v train`: finished artifacts in, `checkpoints/<stage>` out."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, Manifest, ShardEntry, entry_of
from v2vkit.config import DomainName, check_foreground
from v2vkit.engine.devices import pick_device
from v2vkit.engine.launcher import launched_rank
from v2vkit.errors import V2VError
from v2vkit.stages.base import Build, RunOptions, Stage, load_inputs
from v2vkit.training.config import TrainConfig
from v2vkit.weights import file_digest

if TYPE_CHECKING:
    import torch

    from v2vkit.maps.source import SourceConfig
    from v2vkit.synthesis.model import ModelInfo
    from v2vkit.training.dataset import SequenceDataset
    from v2vkit.training.parallel import Parallel
    from v2vkit.training.trainer import Trainer


def _kinds() -> dict[DomainName, str]:
    """Domain -> the artifact with its maps."""
    from v2vkit.maps.source import DOMAINS  # loads cv2, which --help must not

    return {domain: row.kind for domain, row in DOMAINS.items()}


def _resolve(config: TrainConfig, work: Folder) -> TrainConfig:
    """Fill in the domain from the artifacts that are there, and what has no choice for images."""
    if config.images:
        if idle := config.without_meaning_for_images():
            raise V2VError(
                f"{' and '.join(idle)} belong to video models, not to --stage image.",
                "Leave them out: an image generator has no losses over time.",
            )
        config = config.for_images()
    if config.domain is not None:
        return config
    kinds = _kinds()
    found = [domain for domain, kind in kinds.items() if (work / kind).exists(MANIFEST)]
    if len(found) == 1:
        return config.model_copy(update={"domain": found[0]})
    if found:
        raise V2VError(
            f"{work.url} holds maps of several domains ({', '.join(kinds[name] for name in found)}).",
            f"Say which to train on: --domain {' or '.join(found)}.",
        )
    raise V2VError(
        f"There are no source maps in {work.url}: neither sketches nor poses nor labels.",
        "Run `v2v make-sketches` (faces), `v2v estimate-pose` (bodies), `v2v segment` or `v2v ingest --labels FOLDER`.",
    )


def _parts(config: TrainConfig) -> tuple[TrainConfig, ...]:
    """The stages that `all` stands for, coarse to fine."""
    if config.stage != "all":
        return (config,)
    total = config.num_scales or 1
    stages = [config.model_copy(update={"stage": f"spatial-{k}", "num_scales": total}) for k in range(1, total + 1)]
    # Only the first stage has no coarser one, to keep still or to be started from; the others have the one before.
    return (
        stages[0].model_copy(update={"fix_epochs": 0}),
        *(stage.model_copy(update={"start_from": None}) for stage in stages[1:]),
    )


def _inputs(config: TrainConfig) -> tuple[str, ...]:
    assert config.domain is not None
    below = () if config.scale == 1 or config.start_from else (f"checkpoints/spatial-{config.scale - 1}",)
    return ("frames", _kinds()[config.domain], *(("flow",) if config.strides else ()), *below)


def _start(config: TrainConfig, work: Folder) -> Folder | None:
    """The folder of the model that training begins from; None = random weights."""
    if config.start_from:
        return Folder(config.start_from)
    return None if config.scale == 1 else work / f"checkpoints/spatial-{config.scale - 1}"


def _sources(config: TrainConfig) -> dict[str, str]:
    """A model from elsewhere is an input by its content, wherever it lies."""
    from v2vkit.synthesis.model import MODEL, read_info

    sources = {}
    if config.start_from:
        start = Folder(config.start_from)
        if not start.exists(MODEL):
            raise V2VError(
                f"--start-from {config.start_from} holds no model.",
                "Give the folder of a checkpoint; a copy of it elsewhere is as good.",
            )
        sources["--start-from"] = read_info(start).identity
    return sources | ({"VGG weights": file_digest(config.vgg_weights)} if config.vgg_weights else {})


def _check(config: TrainConfig, manifests: dict[str, Manifest], work: Folder) -> None:
    """What would fail hours later."""
    from v2vkit.training.check import check_settings

    check_settings(config, manifests)
    if (start := _start(config, work)) is not None:
        _check_start(config, manifests, work, start)
        if os.path.realpath(start.path) == os.path.realpath((work / f"checkpoints/{config.checkpoint}").path):
            raise V2VError(
                f"--start-from {start.url} is the folder that this training writes into.",
                "Copy that folder, and start from the copy.",
            )


def _check_start(config: TrainConfig, manifests: dict[str, Manifest], work: Folder, start: Folder) -> None:
    """Whether the model to start from has the layers and the size that this stage builds on."""
    from v2vkit.synthesis.model import halved_size
    from v2vkit.training.build import build_encoder_config, build_generator_config
    from v2vkit.training.start import check_start

    generator = build_generator_config(config, _source_config(config, manifests, work))
    clip = manifests["frames"].clips[0]
    size = halved_size(clip.width, clip.height, config.halvings)
    check_start(start, generator, size, build_encoder_config(config))


def _maps(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """The inputs that have clips."""
    return {kind: manifest for kind, manifest in manifests.items() if not kind.startswith("checkpoints")}


def _source_config(config: TrainConfig, manifests: dict[str, Manifest], work: Folder) -> "SourceConfig":
    """The source map's settings; the number of labels is looked up in the maps when it was not given."""
    from v2vkit.maps.clips import count_labels
    from v2vkit.maps.source import SourceConfig

    assert config.domain is not None
    if config.domain != "street":
        return SourceConfig(domain=config.domain)
    labels = manifests["labels"]
    number = config.num_labels or labels.config.get("num_labels") or count_labels(work, labels)
    check_foreground(config.foreground, number)
    return SourceConfig(domain="street", num_labels=number, edges=config.edges)


@dataclass(frozen=True)
class _Run:
    """Everything that training needs, opened; `plan` is what is printed before it starts."""

    trainer: "Trainer"
    dataset: "SequenceDataset"
    info: "ModelInfo"
    device: "torch.device"
    plan: str


def _open(build: Build, parallel: "Parallel") -> _Run:
    import torch

    from v2vkit.maps.clips import ClipReader, typical_placement
    from v2vkit.synthesis.model import MODEL, ModelInfo
    from v2vkit.training.build import build_encoder_config, build_generator_config, build_trainer
    from v2vkit.training.dataset import SequenceDataset
    from v2vkit.training.plan import measure_phases, plan_text
    from v2vkit.training.start import inherit

    config: TrainConfig = build.config
    assert config.domain is not None
    if config.threads:
        torch.set_num_threads(config.threads)
    device = parallel.device or pick_device(config.device)
    work, kind = Folder(build.options.work), _kinds()[config.domain]
    reader = ClipReader(work, _maps(build.inputs))
    source = _source_config(config, build.inputs, work)
    dataset = SequenceDataset(
        reader,
        source,
        strides=config.strides,
        flip=config.flip,
        halvings=config.halvings,
        map_settings=build.inputs[kind].config,
        regions=config.feature_dims > 0,
    )
    maps, clip = build.inputs[kind], reader.clips[0]
    info = ModelInfo(
        stage=config.checkpoint,
        fingerprint=build.fingerprint,
        generator=build_generator_config(config, source),
        encoder=build_encoder_config(config),
        source=source,
        width=clip.width,
        height=clip.height,
        halvings=config.halvings,
        first_frame=config.first_frame,
        frames={**build.inputs["frames"].config, "fps": clip.fps},
        maps=maps.config,
        maps_stage=maps.stage,
        estimator=maps.estimator,
        placement=typical_placement(reader, source),
    )
    start = _start(config, work)
    costs = {} if parallel.rank else measure_phases(config, dataset, device, processes=parallel.num_processes)
    trainer = build_trainer(config, source, device, parallel)
    if start is None:
        started = []
    elif start.exists(MODEL):
        started = inherit(trainer, start)
    else:  # only where `_ahead` plans
        started = [f"{start.url}, which has still to be trained"]
    plan = "" if parallel.rank else plan_text(config, dataset, device, costs, started)
    return _Run(trainer, dataset, info, device, plan)


def _preview(build: Build) -> str:
    """The plan, measured on steps that leave nothing behind."""
    from v2vkit.training.parallel import ALONE

    return _open(build, ALONE).plan


def _ahead(config: TrainConfig, options: RunOptions) -> str:
    """The plan of a finer stage of `all`, measured although the model that it starts from does not exist yet."""
    from v2vkit.training.check import check_settings
    from v2vkit.training.parallel import ALONE

    work = Folder(options.work)
    config = _resolve(config, work)
    inputs = load_inputs(work, tuple(kind for kind in _inputs(config) if not kind.startswith("checkpoints/")))
    check_settings(config, inputs)
    build = Build(config, options, work / f"checkpoints/{config.checkpoint}", inputs, {}, "planned", lambda: None)
    return _open(build, ALONE).plan


def _build(build: Build) -> tuple[ShardEntry, ...]:
    """Print the plan, train, and give the checkpoint's files."""
    from v2vkit.synthesis.model import MODEL
    from v2vkit.training.checkpoint import forget_damaged
    from v2vkit.training.loop import train
    from v2vkit.training.parallel import open_parallel

    config: TrainConfig = build.config
    # Before the processes meet, so that none of them reads it any more.
    if build.options.overwrite and launched_rank() == 0 and forget_damaged(build.folder):
        print(f"The training snapshot in {build.folder.url} cannot be used; training begins anew.", flush=True)
    parallel = open_parallel(config.device)
    opened = _open(build, parallel)
    build.begin()
    parallel.wait()  # for the first process to have cleared what an earlier training left
    first = parallel.rank == 0
    if first:
        print(opened.plan, flush=True)
    writer = _open_tensorboard(config, Folder(build.options.work)) if first else None
    try:
        train(
            config,
            opened.trainer,
            opened.dataset,
            build.folder,
            opened.info,
            device=opened.device,
            writer=writer,
            parallel=parallel,
        )
    finally:
        if writer is not None:
            writer.close()
    if not first:
        return ()
    return (entry_of(MODEL, build.folder.read(MODEL)),)


def _open_tensorboard(config: TrainConfig, work: Folder) -> Any:
    """A SummaryWriter in <work>/logs/<stage>; None when switched off, not installed, or the workspace is remote."""
    if not config.tensorboard or "://" in work.url:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed; no logs are written. To have them: pip install 'v2vkit[tensorboard]'")
        return None
    return SummaryWriter(f"{work.path}/logs/{config.checkpoint}")


STAGE = Stage(
    name="train",
    config=TrainConfig,
    version=1,
    output=lambda config: f"checkpoints/{config.checkpoint}",
    inputs=_inputs,
    sources=_sources,
    parts=_parts,
    resolve=_resolve,
    check=_check,
    preview=_preview,
    ahead=_ahead,
    build=_build,
    again="--overwrite trains from nothing; to train this model on, copy its folder and add --start-from COPY. The old "
    "settings keep it.",
)
