"""`v2v import-checkpoint`: the published networks' weights as a checkpoint of ours."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ShardEntry, entry_of
from v2vkit.conditions.domains import DOMAINS, domain_names
from v2vkit.config import SPATIAL_STAGES, SizeSetting, StageConfig, as_plain, setting
from v2vkit.errors import V2VError
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import Build, Command, RunOptions, Stage, Whole
from v2vkit.weights import file_digest

if TYPE_CHECKING:
    from v2vkit.conditions.conditioning import Conditioning
    from v2vkit.conditions.settings import Origin
    from v2vkit.models.any_generator import AnyGenerator
    from v2vkit.models.discriminator import Discriminator
    from v2vkit.models.published_layers import Imported

REPORT = "import.json"
_SHOWN = 20
_PUBLISHED_STEP = 32


class ImportConfig(StageConfig):
    """Make a checkpoint from published `.pth` weights: vid2vid's video generator or pix2pixHD's image generator.

    FILES are the state dicts of its scales, the coarsest first: latest_net_G0.pth, latest_net_G1.pth, latest_net_G2.pth
    as far as there are any; with --image one file, latest_net_G.pth. Nothing in them is run. The layers are read off
    the tensors; what tensors cannot tell is asked for. Writes checkpoints/spatial-N (N files) or
    checkpoints/pix2pixhd, ready for render and evaluate, and import.json with every key of the files and whether it was
    used. With the discriminators too, `train --start-from` goes on with them (give it --norm batch where they have
    batch norm). Exits with 3 when the files hold keys that belong to no layer.
    """

    files: tuple[str, ...] = setting(
        ...,
        "State dicts, the coarsest first.",
        argument=True,
        metavar="FILES...",
        affects_output=False,
        min_length=1,
        max_length=3,
    )
    image: bool = setting(False, "FILES is the one file of an image generator (pix2pixHD).")
    domain: str = setting(
        ...,
        "What the video shows (pose: networks that see OpenPose's skeletons, alone or after DensePose).",
        choices=domain_names,
    )
    size: SizeSetting = setting(..., "Size of the frames to make, as the weights were trained for.")
    num_labels: int | None = setting(
        None, "Label classes (street); as many as the weights have channels for when not given.", ge=1, le=255
    )
    edges: bool = setting(True, "The last source channel is instance edges (street).")
    foreground: tuple[int, ...] = setting((), "Label id with the foreground branch (street), as it was trained.")
    first_frame: Literal["real", "self"] = setting(
        "real", "How a video begins: real = from given frames, self = from nothing (trained without a first image)."
    )
    crop: Literal["none", "center", "face"] | None = setting(
        None, "How driving videos are cut, as for ingest; face for square faces, else none, when not given."
    )
    discriminator: str | None = setting(
        None, "State dict of the image discriminator, latest_net_D.pth.", metavar="FILE", affects_output=False
    )
    video_discriminator: tuple[str, ...] = setting(
        (),
        "State dict of a video discriminator, latest_net_D_T0.pth and so on, in order.",
        metavar="FILE",
        affects_output=False,
        max_length=3,
    )


def _crop(config: ImportConfig) -> str:
    """How driving videos are cut (as published: a square around the face; streets whole)."""
    square = config.size.width == config.size.height
    published = DOMAINS[config.domain].classes[0].crop if square else "none"
    if config.crop == "face" and published != "face":
        raise V2VError(
            "setting-conflict", "--crop face is for square pictures of faces.", "Give --crop none or center."
        )
    return config.crop or published


@dataclass(frozen=True)
class _Found:
    """The networks in the files, and what conditions the generator; discriminators by their names in training."""

    generator: "Imported[AnyGenerator]"
    conditioning: "Conditioning"
    discriminators: "dict[str, Imported[Discriminator]]"


def _read(config: ImportConfig) -> _Found:
    """Everything that can be wrong with files and settings is raised here."""
    from v2vkit.checkpoint.published import read_discriminators, read_generator, read_image_generator

    _crop(config)
    if config.image and config.video_discriminator:
        raise V2VError(
            "setting-unused", "An image generator has no video discriminators.", "Leave out --video-discriminator."
        )
    generator, conditioning = (read_image_generator if config.image else read_generator)(config.files, config)
    return _Found(generator, conditioning, read_discriminators(_discriminators(config), conditioning))


def _discriminators(config: ImportConfig) -> dict[str, str]:
    """File of each discriminator, by its name in training."""
    image = {"image": config.discriminator} if config.discriminator else {}
    return image | {f"video{scale}": path for scale, path in enumerate(config.video_discriminator)}


def _files(config: ImportConfig) -> dict[str, str]:
    """Every file by the published name of its network."""
    scales = {"G" if config.image else f"G{scale}": path for scale, path in enumerate(config.files)}
    return scales | {_published(name): path for name, path in _discriminators(config).items()}


def _published(discriminator: str) -> str:
    return discriminator.replace("video", "D_T") if discriminator != "image" else "D"


def _digests(config: ImportConfig) -> dict[str, str]:
    return {name: file_digest(path) for name, path in _files(config).items()}


def _report(config: ImportConfig, found: _Found) -> dict[str, Any]:
    """What was made of which files, and what became of every key."""
    labelled = [("", found.generator), *((f"{_published(name)}:", of) for name, of in found.discriminators.items())]
    keys = {
        "used": [label + key for label, imported in labelled for key in imported.used],
        "unused statistics": [label + key for label, imported in labelled for key in imported.statistics],
        "unknown": [label + key for label, imported in labelled for key in imported.unknown],
    }
    files, network = _files(config), found.generator.network
    return {
        "files": [
            {"network": name, "file": files[name], "sha256": digest} for name, digest in _digests(config).items()
        ],
        "generator": as_plain(network.config),
        "discriminators": {_published(name): as_plain(of.network.config) for name, of in found.discriminators.items()},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "counts": {name: len(those) for name, those in keys.items()},
        "keys": keys,
        "notes": _notes(config, found),
    }


def _notes(config: ImportConfig, found: _Found) -> list[str]:
    """What was taken off or assumed, and may not be meant."""
    notes = [note for of in (found.generator, *found.discriminators.values()) for note in of.notes]
    conditioning = found.conditioning
    if conditioning.num_labels and config.num_labels is None:
        edges = "and instance edges" if config.edges else "without edges"
        notes.append(
            f"The source channels are taken for {conditioning.num_labels} labels {edges}; if they are others, say so "
            "with --num-labels and --no-edges."
        )
    if config.size.width % _PUBLISHED_STEP or config.size.height % _PUBLISHED_STEP:
        notes.append(
            f"The published networks were trained on sizes that are multiples of {_PUBLISHED_STEP}, and {config.size} "
            "is none: their frames may be worse in it."
        )
    return notes


def _build(build: Build) -> tuple[ShardEntry, ...]:
    """Read and check everything, then write the checkpoint."""
    from v2vkit.checkpoint.model_file import MODEL, ModelInfo, save_model
    from v2vkit.checkpoint.snapshot import NETWORKS, save_networks

    config: ImportConfig = build.config
    found = _read(config)
    network = found.generator.network
    info = ModelInfo(
        method="pix2pixhd" if config.image else "vid2vid",
        stage=_stage_name(config),
        fingerprint=build.fingerprint,
        network=network.config,
        conditioning=found.conditioning,
        origins=_origins(found.conditioning),
        width=config.size.width,
        height=config.size.height,
        first_frame="self" if config.image else config.first_frame,
        frames={"crop": _crop(config), "size": str(config.size)},
    )
    report = _report(config, found)
    build.begin()
    build.folder.write(REPORT, (json.dumps(report, indent=1) + "\n").encode())
    written = [MODEL, REPORT]
    if found.discriminators:
        networks = {name: imported.network.state_dict() for name, imported in found.discriminators.items()}
        save_networks(build.folder, networks)
        written.append(NETWORKS)
    save_model(build.folder, network.state_dict(), info)
    return tuple(entry_of(name, build.folder.read(name)) for name in written)


def _origins(conditioning: "Conditioning") -> "tuple[Origin, ...]":
    """How annotations were made for the published models."""
    made = [condition.published for condition in conditioning.conditions]
    absent = next((condition for condition in conditioning.conditions if condition.published is None), None)
    if absent is not None:
        raise V2VError(
            "domain-unsupported",
            f"There are no published models that are conditioned on {absent.name}.",
            "Give another --domain.",
        )
    return tuple(origin for origin in made if origin is not None)


def _stage_name(config: ImportConfig) -> str:
    return "pix2pixhd" if config.image else SPATIAL_STAGES[len(config.files) - 1]


def _import(config: ImportConfig, options: RunOptions) -> list[str]:
    """Make the checkpoint and tell what its report says of the keys, also when it was there already."""
    outcome = run(_STAGE, config, options)
    folder = Folder(options.work) / _STAGE.output(config)
    try:
        return _tell(json.loads(folder.read(REPORT)), f"{outcome.message} Keys by name: {folder.url}/{REPORT}")
    except (ValueError, KeyError, TypeError):
        raise V2VError(
            "model-damaged", f"{folder.url}/{REPORT} is damaged.", "Remove that folder and import again."
        ) from None


def _tell(report: dict[str, Any], message: str) -> list[str]:
    """Print what was made and how many keys were used; the keys of no layer are problems."""
    counts, layers, unknown = report["counts"], report["generator"], report["keys"]["unknown"]
    size = f"width {layers['width']}, {layers['num_down']} halvings, {layers['num_blocks']} blocks"
    if "num_scales" in layers:
        kind = f"{layers['num_scales']} scales, {size}, {layers['source_channels']} source channels, "
        kind += f"history {layers['history']}, {'with' if layers['flow'] else 'without'} flow"
    else:
        kind = f"image generator with {layers['num_enhancers']} enhancers, {size}, {layers['in_channels']} channels"
    print(f"{kind}, {report['parameters']:,} parameters.")
    for name, judge in report.get("discriminators", {}).items():  # reports of earlier versions have none
        print(
            f"{name}: {judge['num_scales']} scales, width {judge['width']}, {judge['in_channels']} "
            f"channels, {judge['norm']} norm."
        )
    print(
        f"{counts['used']} keys used; {counts['unused statistics']} not used: running statistics, which the published "
        f"networks carry and never read; {counts['unknown']} not used: of no layer."
    )
    for note in report.get("notes", ()):
        print(note)
    print(message)
    problems = [f"{key} belongs to no layer and was not used" for key in unknown[:_SHOWN]]
    return problems + [f"and {len(unknown) - _SHOWN} more such keys"] * (len(unknown) > _SHOWN)


_STAGE = Stage(
    name="import-checkpoint",
    config=ImportConfig,
    version=1,
    output=lambda config: f"checkpoints/{_stage_name(config)}",
    make=Whole(_build),
    sources=_digests,
)
COMMAND = Command(
    name="import-checkpoint",
    config=ImportConfig,
    call=_import,
    options=("work", "overwrite"),
)
