"""The settings of `v2v train`, in groups."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from v2vkit.conditions.domains import conditions_have, domain_names, find_domain
from v2vkit.conditions.registry import condition_names
from v2vkit.config import (
    SPATIAL_STAGES,
    Precision,
    Preset,
    SettingsGroup,
    SpatialStage,
    StageConfig,
    Upsample,
    setting,
    settings_of,
)
from v2vkit.training.methods.registry import METHODS

MAX_TEMPORAL_SCALES = 5
"""More would look farther than the longest clips reach (K^5 frames)."""


class ModelSettings(SettingsGroup):
    """Model."""

    preset: Preset = setting(
        "small", "Size of the networks: tiny for a few CPU cores, paper as published.", common=True
    )
    foreground: tuple[int, ...] = setting(
        (), "Label id with a foreground branch of its own, eq. 9 (street).", common=True
    )
    num_labels: int | None = setting(None, "Label classes (street); the highest id + 1 when not given.", ge=1, le=255)
    edges: bool = setting(True, "Condition on instance edges too (street).")
    depth_near: float | None = setting(
        None,
        "Nearest depth in metres that is told apart (depth ingested with --depth-scale); 1 when not given.",
        gt=0,
        since="0.1",
    )
    depth_far: float | None = setting(None, "Farthest, likewise; 100 when not given.", gt=0, since="0.1")
    picture_skip: bool = setting(True, "Add to the picture instead of making every frame anew (picture).", since="0.1")
    feature_dims: int = setting(
        0,
        "Numbers that describe the look of each region (object, label or part of the face), found by an encoder that "
        "trains along; rendering then draws them (`v2v sample-style`). 0 = none, 3 in the paper (street, face).",
        ge=0,
        le=16,
        since="0.1",
    )
    flow: bool = setting(True, "Predict flow and warp the last frame; off: every pixel is hallucinated.")
    composition: Literal["paper", "published"] = setting("paper", "How the foreground is composed.")
    width: int | None = setting(None, "Generator width, instead of the preset's.", ge=1, le=512)
    num_down: int | None = setting(None, "Downsampling steps of the generator, instead of the preset's.", ge=1, le=6)
    num_blocks: int | None = setting(None, "Generator residual blocks, instead of the preset's.", ge=0, le=64)
    num_blocks_fine: int | None = setting(
        None, "Residual blocks of finer scales, instead of the preset's.", ge=0, le=64
    )
    num_enhancers: int = setting(
        0, "Local enhancers (pix2pixhd, covst); each doubles the size at which the generator sees.", ge=0, le=5
    )
    edge_network: Literal["scratch", "vgg16", "hed", "none"] = setting(
        "scratch",
        "Edge network DNED before the generator (s-flow): from scratch, or from the weights vgg16 or hed of `v2v "
        "weights`; none: the generator sees Laplacian edges only.",
        since="0.1",
    )
    covst_share: float = setting(
        0.8, "Share of the last frame's features where the flow is certain (covst).", gt=0, le=1
    )
    upsample: Upsample | None = setting(None, "How the generator upsamples, instead of the preset's way.")
    norm: Literal["instance", "batch"] | None = setting(
        None,
        "Normalisation of G and D: instance (default); batch, with which the published weights were trained.",
    )


class ScheduleSettings(SettingsGroup):
    """Schedule and optimiser."""

    epochs: int = setting(40, "Epochs in all.", ge=1, le=100000, common=True)
    learning_rate: float = setting(2e-4, "Learning rate of Adam (0.5, 0.999).", gt=0, le=1, common=True)
    decay: float = setting(
        0.5,
        "Share of the epochs, at the end, over which the learning rate falls linearly to zero; the nearest whole "
        "number of epochs, half of one counting for the full rate.",
        ge=0,
        le=1,
    )
    max_frames: int = setting(16, "Most generated frames per sequence.", ge=1, le=1024, common=True)
    first_frames: int = setting(4, "Generated frames per sequence at the beginning.", ge=1, le=1024)
    double_every: int = setting(5, "Epochs after which that number doubles; 0 = never.", ge=0)
    chunk: int = setting(2, "Frames per optimiser step; history before it carries no gradient.", ge=1, le=64)
    fix_epochs: int = setting(
        0, "Epochs at the beginning in which only the newest scale trains (spatial-2 and -3).", ge=0, le=100000
    )
    laplacian_epochs: int | None = setting(
        None,
        "Epochs at the beginning on Laplacian edges, before the edge network joins (s-flow); a third when not given.",
        ge=0,
        le=100000,
        since="0.1",
    )
    flow_epochs: int | None = setting(
        None,
        "Epochs at the end on pairs of frames, whose optical flow is compared with the real one (s-flow, eq. 8); a "
        "third when not given, 0 = none.",
        ge=0,
        le=100000,
        since="0.1",
    )
    loss_ramp: float = setting(
        0.0, "Epochs over which losses that begin with longer sequences grow to their weight.", ge=0, le=1000
    )
    gradient_clip: float = setting(0.0, "Largest gradient norm of a network; 0 = any.", ge=0)
    ema: float = setting(
        0.99, "Decay of the averaged weights (EMA) that rendering uses; 0 = the last weights.", ge=0, lt=1
    )


class LossSettings(SettingsGroup):
    """Weights of the losses."""

    lambda_feature: float = setting(10.0, "Weight of feature matching.", ge=0)
    lambda_temporal: float = setting(1.0, "Weight of the video discriminators' losses.", ge=0)
    lambda_face: float = setting(
        0.0, "Weight of a discriminator of the face's surroundings (pose); 2 in the paper's recipes, 0 = none.", ge=0
    )
    lambda_l1: float = setting(
        0.0, "Weight of a plain pixel loss; keeps tiny runs from flickering. 100 for pix2pix when not given.", ge=0
    )
    perceptual: Literal["auto", "off", "lite0", "vgg19", "hed"] = setting(
        "auto",
        "Network of the perceptual loss; auto: VGG-19 where `v2v weights` has it, otherwise off. lite0 and hed come "
        "with packages.",
        common=True,
    )
    perceptual_weights: str | None = setting(
        None, "File with that network's weights, instead of the store's.", metavar="PATH", affects_output=False
    )
    lambda_perceptual: float = setting(10.0, "Weight of the perceptual loss.", ge=0)
    lambda_style: float = setting(0.0, "Weight of the style (Gram) loss, which looks through the same network.", ge=0)
    lambda_flow: float = setting(
        10.0,
        "Weight of the losses of the predicted flow (eq. 8); of L_flow with --method s-flow, 1 when not given.",
        ge=0,
    )
    lambda_warp: float = setting(
        10.0,
        "Weight of the loss that makes generated frames move with the real flow; more of it means less flicker.",
        ge=0,
        since="0.1",
    )
    lambda_dned: float = setting(1.0, "Weight of the edge network's loss (s-flow, eq. 4).", ge=0, since="0.1")
    balance_edges: bool = setting(
        False, "Weight edges and other pixels in that loss so that both count alike, as HED does.", since="0.1"
    )
    lambda_mask: float = setting(1.0, "Weight of the loss that pushes the mask to warping.", ge=0)


class AdversarySettings(SettingsGroup):
    """Discriminators."""

    gan: Literal["lsgan", "hinge", "bce"] = setting(
        "lsgan", "The adversarial loss; bce for s-flow and pix2pix when not given."
    )
    temporal_scales: int = setting(
        2, "Video discriminators, each looking K times as far; 0 = none.", ge=0, le=MAX_TEMPORAL_SCALES
    )
    video_frames: int = setting(3, "Frames K that a video discriminator sees at once.", ge=2, le=8)
    sparse: bool = setting(False, "Video discriminators see only windows that share no frame.")
    discriminator_scales: int | None = setting(
        None,
        "Sizes at which discriminators look in spatial-1, instead of the preset's (1 for s-flow and pix2pix); one more "
        "per finer stage.",
        ge=1,
        le=4,
    )
    discriminator_width: int | None = setting(None, "Discriminator width, instead of the preset's.", ge=1, le=512)


class DataSettings(SettingsGroup):
    """Training data."""

    batch_size: int = setting(1, "Sequences per step.", ge=1, le=256, common=True)
    max_frame_stride: int = setting(
        1,
        "Frames of a sequence lie 1 to this many frames apart, drawn for each; needs flow of all those strides.",
        ge=1,
        le=8,
    )
    first_frame: Literal["self", "real", "image"] = setting(
        "self",
        "How a video begins: self = from nothing (trained with dropped history), real = from given frames, image = "
        "from frames that `--method pix2pixhd` makes (trained like real).",
    )
    drop_history: float = setting(0.2, "Share of sequences that begin from nothing (first frame: self).", ge=0, le=1)
    flip: bool = setting(False, "Mirror half of the sequences (labels, picture, depth; never faces or poses).")
    augment: float = setting(
        0.0, "Shift, turn and zoom each sequence at random; 1 = up to a tenth of the size and 10 degrees.", ge=0, le=2
    )
    drop_parts: float = setting(
        0.0,
        "Share of limbs, hands and faces left out of the drawings, and of the 24 parts of DensePose, anew for every "
        "frame (pose, densepose); 0.05 in the paper's recipes.",
        ge=0,
        le=1,
    )
    seed: int = setting(0, "Seed of initial weights and sampling.", ge=0)


class HardwareSettings(SettingsGroup):
    """Hardware."""

    device: str = setting("auto", "cpu, cuda, cuda:1, mps or auto.", affects_output=False, common=True)
    precision: Precision = setting(
        "auto",
        "What convolutions compute in; auto: bf16 where the device is fast at it; fp16 scales the losses.",
        affects_output=False,
    )
    threads: int = setting(
        0,
        "CPU threads of torch; 0: as many as there are idle cores, watched while training. Two runs give the same bits "
        "with the same number.",
        ge=0,
        affects_output=False,
    )
    loader_workers: int | None = setting(
        None,
        "Processes that load batches ahead of the step; 0: between steps. Not given: 0 on a CPU, up to 4 beside a GPU.",
        ge=0,
        le=64,
        affects_output=False,
    )
    gradient_checkpointing: bool = setting(
        False,
        "Compute the generator's activations again for the gradients: less memory, more time.",
        affects_output=False,
    )
    shard: bool = setting(
        False,
        "Share out the optimisers' moments between a launcher's processes: less memory on each than the plan says.",
        affects_output=False,
    )
    channels_last: bool | None = setting(None, "Memory layout; on CUDA by default.", affects_output=False)
    compile: bool = setting(False, "torch.compile the networks (CUDA; minutes at the beginning).", affects_output=False)


class OutputSettings(SettingsGroup):
    """Snapshots and logs."""

    save_every: float = setting(60.0, "Seconds between snapshots to resume from.", ge=0, affects_output=False)
    sample_every: int = setting(200, "Steps between sample grids; 0 = none.", ge=0, affects_output=False)
    tensorboard: bool = setting(True, "Write TensorBoard scalars and grids to <work>/logs.", affects_output=False)


class TrainConfig(StageConfig):
    """Train a model on the artifacts of a workspace.

    Reads frames, flow and the domain's maps, prints the plan (phases, losses, parameters, time), trains, and writes
    `checkpoints/<stage>`, or `checkpoints/<method>` for methods without stages. The same command again resumes exactly
    where a stopped run was. Sequences get longer as training goes on: the number of frames doubles every
    --double-every epochs up to --max-frames. Coarse to fine: spatial-2 puts a finer scale on the model of spatial-1,
    spatial-3 another.
    """

    method: str = setting(
        "vid2vid",
        f"What is trained: {'; '.join(f'{name} = {row.summary}' for name, row in METHODS.items())}.",
        choices=lambda: tuple(METHODS),
    )
    stage: Literal[SpatialStage, "all"] = setting(
        "spatial-1", "Which stage of vid2vid to train; all: every spatial stage, one after another."
    )
    num_scales: int | None = setting(
        None,
        "Spatial scales in all, the same for every stage from spatial-1 on; spatial-k trains at 1/2^(scales - k) of "
        "the frames' size. Not given: k; --stage all needs it.",
        ge=1,
        le=len(SPATIAL_STAGES),
    )
    domain: str | None = setting(
        None,
        "What the video shows, which says what it is conditioned on (street: labels, frames: picture, ...); found from "
        "the artifacts when not given.",
        choices=domain_names,
    )
    condition: tuple[str, ...] = setting(
        (),
        "Condition on this too, after those of --domain; without --domain on these alone, in this order: `--domain "
        "street --condition depth`, `--condition densepose --condition pose`.",
        choices=condition_names,
        since="0.1",
    )
    start_from: str | None = setting(
        None,
        "Checkpoint folder to start from, such as a copy of this stage's to train it on; that of the coarser stage in "
        "the workspace when not given.",
        metavar="FOLDER",
        affects_output=False,
    )

    model: ModelSettings = ModelSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    losses: LossSettings = LossSettings()
    adversaries: AdversarySettings = AdversarySettings()
    data: DataSettings = DataSettings()
    hardware: HardwareSettings = HardwareSettings()
    output: OutputSettings = OutputSettings()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_method(cls, values: Any) -> Any:
        """Settings that were not given have the method's defaults."""
        row = METHODS.get(str(values.get("method"))) if isinstance(values, Mapping) else None
        return values if row is None else {**row.defaults, **values}

    if TYPE_CHECKING:  # settings are given by their own names, whatever their group

        def __init__(self, **settings: Any) -> None: ...

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions in the order of their channels; empty = found from the artifacts."""
        of_domain = () if self.domain is None else find_domain(self.domain).conditions
        return tuple(dict.fromkeys((*of_domain, *self.condition)))

    def conditions_have(self, fact: str) -> bool:
        """Whether some condition has this fact (an attribute of `Condition` that is true)."""
        return conditions_have(self.conditions, fact)

    @property
    def scale(self) -> int:
        """k of spatial-k: how many scales the generator has at the end of this stage."""
        assert self.stage != "all", "a stage of its own"
        return 1 + SPATIAL_STAGES.index(self.stage)

    @property
    def halvings(self) -> int:
        """How often frames and maps are halved before this stage sees them."""
        return 0 if self.num_scales is None else self.num_scales - self.scale

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint that this training writes."""
        return self.stage if METHODS[self.method].staged else self.method

    def flag(self, name: str) -> str:
        """The flag that moves a setting from its default."""
        return f"--{'no-' * (settings_of(type(self))[name].default is True)}{name.replace('_', '-')}"

    def given(self, *names: str) -> list[str]:
        """The flags of those settings that are not at their defaults; a weight or share of 0 is none either."""
        found = []
        for name in names:
            value, default = self.value(name), settings_of(type(self))[name].default
            if value != default and not (isinstance(default, float) and value == 0):
                found.append(self.flag(name))
        return found
