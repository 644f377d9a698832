"""The settings of `v2v train`, in groups."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from v2vkit.classes.table import ClassName
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
from v2vkit.models.prediction import OBSERVE
from v2vkit.training.budget import DurationSetting
from v2vkit.training.methods.registry import METHODS

MAX_TEMPORAL_SCALES = 5
"""More would span more frames (K^5) than the longest clips have."""


class ModelSettings(SettingsGroup):
    """Model."""

    preset: Preset = setting(
        "small", "Size of the networks: tiny for a few CPU cores, paper as in the paper.", common=True
    )
    foreground: tuple[ClassName, ...] = setting(
        (),
        "Label of the foreground, by id or name, which gets a generator branch of its own, eq. 9 (street).",
        common=True,
        metavar="ID|NAME",
    )
    num_labels: int | None = setting(
        None, "Number of label classes (street); default: highest id in the label maps + 1.", ge=1, le=255
    )
    edges: bool = setting(True, "Condition also on edges between instances (street).")
    tracks: bool | None = setting(
        None,
        "Take object ids from the artifact tracks of `v2v track` (street); default: if the workspace has it.",
        since="0.1",
    )
    depth_near: float | None = setting(
        None,
        "Nearest depth in metres that the network resolves (depth ingested with --depth-scale); default: 1.",
        gt=0,
        since="0.1",
    )
    depth_far: float | None = setting(
        None, "Farthest depth in metres that the network resolves; default: 100.", gt=0, since="0.1"
    )
    picture_skip: bool = setting(
        True, "Generate a residual that is added to the input picture, not the whole frame (picture).", since="0.1"
    )
    feature_dims: int = setting(
        0,
        "Dimensions of the feature vector that an encoder, trained jointly, extracts from each region (object, label "
        "or part of the face); rendering draws them (`v2v sample-style`). 0 = none, 3 in the paper (street, face).",
        ge=0,
        le=16,
        since="0.1",
    )
    flow: bool = setting(True, "Predict flow and warp the last frame; off: every pixel is generated from scratch.")
    composition: Literal["paper", "published"] = setting(
        "paper", "Blending of the foreground branch: as in the paper (eq. 9) or in the published code."
    )
    width: int | None = setting(None, "Channels of the generator's first layer; default: the preset's.", ge=1, le=512)
    num_down: int | None = setting(None, "Downsampling steps of the generator; default: the preset's.", ge=1, le=6)
    num_blocks: int | None = setting(None, "Residual blocks of the generator; default: the preset's.", ge=0, le=64)
    num_blocks_fine: int | None = setting(
        None, "Residual blocks of each finer scale; default: the preset's.", ge=0, le=64
    )
    num_enhancers: int = setting(
        0, "Local enhancers (pix2pixhd, covst); each doubles the resolution of the generator.", ge=0, le=5
    )
    edge_network: Literal["scratch", "vgg16", "hed", "none"] = setting(
        "scratch",
        "Initial weights of the edge network DNED (s-flow): random, or vgg16 or hed of `v2v weights`; none = the "
        "generator gets the Laplacian edges.",
        since="0.1",
    )
    covst_share: float = setting(
        0.8, "Weight of the warped features of the last frame where the flow is certain (covst).", gt=0, le=1
    )
    observe: int = setting(
        OBSERVE, "Observed frames before the first predicted one (methods of prediction).", ge=1, le=64, since="0.1"
    )
    upsample: Upsample | None = setting(None, "Upsampling layers of the generator; default: the preset's.")
    norm: Literal["instance", "batch"] | None = setting(
        None,
        "Normalisation of G and D: instance (default), or batch (as the published weights).",
    )

    @property
    def foreground_ids(self) -> tuple[int, ...]:
        """`foreground` once names have been looked up in the class table, which the stage does first."""
        return tuple(label for label in self.foreground if isinstance(label, int))


class ScheduleSettings(SettingsGroup):
    """Schedule and optimiser."""

    epochs: int = setting(40, "Number of epochs.", ge=1, le=100000, common=True)
    budget: DurationSetting | None = setting(
        None,
        "Longest time that a stage trains (`90 s`, `4 min`, `2 h`). Steps measured at the start decide how many epochs "
        "fit; decay and the growth of sequences are scaled with them. At least a tenth of the epochs, and two, are "
        "trained. Not given: all epochs.",
        metavar="DURATION",
        since="0.1",
    )
    learning_rate: float = setting(2e-4, "Learning rate of Adam (betas 0.5, 0.999).", gt=0, le=1, common=True)
    decay: float = setting(
        0.5,
        "Share of the epochs, at the end, over which the learning rate falls linearly to zero; rounded to whole "
        "epochs, half an epoch down.",
        ge=0,
        le=1,
    )
    max_frames: int = setting(16, "Largest number of generated frames per sequence.", ge=1, le=1024, common=True)
    first_frames: int = setting(4, "Generated frames per sequence in the first epochs.", ge=1, le=1024)
    double_every: int = setting(
        5, "The number of frames per sequence doubles every so many epochs, up to --max-frames; 0 = never.", ge=0
    )
    chunk: int = setting(
        2, "Generated frames per optimiser step; gradients do not reach frames before them.", ge=1, le=64
    )
    fix_epochs: int = setting(
        0, "First epochs in which only the newest scale trains (spatial-2 and -3).", ge=0, le=100000
    )
    laplacian_epochs: int | None = setting(
        None,
        "First epochs, which train on Laplacian edges without the edge network (s-flow); default: a third of --epochs.",
        ge=0,
        le=100000,
        since="0.1",
    )
    flow_epochs: int | None = setting(
        None,
        "Last epochs, which train on pairs of frames with the loss of their optical flow (s-flow, eq. 8); default: a "
        "third of --epochs, 0 = none.",
        ge=0,
        le=100000,
        since="0.1",
    )
    loss_ramp: float = setting(
        0.0,
        "Epochs over which a loss that starts only with longer sequences (video discriminators) ramps up.",
        ge=0,
        le=1000,
    )
    gradient_clip: float = setting(0.0, "Clip the gradient norm of each network to this; 0 = no clipping.", ge=0)
    ema: float = setting(0.99, "Decay of the EMA of the weights, which rendering uses; 0 = no averaging.", ge=0, lt=1)


class LossSettings(SettingsGroup):
    """Weights of the losses."""

    lambda_feature: float = setting(10.0, "Weight of the feature-matching loss.", ge=0)
    lambda_temporal: float = setting(1.0, "Weight of the video discriminators' losses.", ge=0)
    lambda_face: float = setting(
        0.0, "Weight of the loss of a face discriminator (pose); 0 = none, 2 in the paper's recipes.", ge=0
    )
    lambda_l1: float = setting(
        0.0, "Weight of the L1 pixel loss; reduces flicker in tiny runs. Default for pix2pix: 100.", ge=0
    )
    perceptual: Literal["auto", "off", "lite0", "vgg19", "hed"] = setting(
        "auto",
        "Network of the perceptual loss; auto = VGG-19 if `v2v weights` has it, else off. The weights of lite0 and hed "
        "come with Python packages.",
        common=True,
    )
    perceptual_weights: str | None = setting(
        None,
        "Weights of the --perceptual network; default: those of `v2v weights`.",
        metavar="PATH",
        affects_output=False,
    )
    lambda_perceptual: float = setting(10.0, "Weight of the perceptual loss.", ge=0)
    lambda_style: float = setting(
        0.0, "Weight of the style (Gram) loss, by features of the --perceptual network.", ge=0
    )
    lambda_labels: float = setting(
        10.0, "Weight of the cross-entropy of predicted labels (predictor).", ge=0, since="0.1"
    )
    lambda_frames: float = setting(
        50.0, "Weight of the pixel losses of predicted frames (prednet, mcnet).", ge=0, since="0.1"
    )
    lambda_flow: float = setting(
        10.0, "Weight of the flow losses (eq. 8); with s-flow of L_flow (default there: 1).", ge=0
    )
    lambda_warp: float = setting(
        10.0,
        "Weight of the temporal consistency loss: generated frames warped with the real flow; more means less flicker.",
        ge=0,
        since="0.1",
    )
    lambda_dned: float = setting(1.0, "Weight of the edge network's loss (s-flow, eq. 4).", ge=0, since="0.1")
    balance_edges: bool = setting(
        False,
        "Weight the pixels in the loss of --lambda-dned so that edges count as much as all others, as in HED.",
        since="0.1",
    )
    lambda_mask: float = setting(
        1.0, "Weight of the mask loss, which favours warping over generating where the flow is certain.", ge=0
    )


class AdversarySettings(SettingsGroup):
    """Discriminators."""

    gan: Literal["lsgan", "hinge", "bce"] = setting(
        "lsgan",
        "Adversarial loss: least squares, hinge or binary cross-entropy. Default for s-flow and pix2pix: bce.",
    )
    temporal_scales: int = setting(
        2,
        "Number of video discriminators; number s (from 0) sees frames K^s apart, K = --video-frames; 0 = none.",
        ge=0,
        le=MAX_TEMPORAL_SCALES,
    )
    video_frames: int = setting(3, "Number of frames K in the input of a video discriminator.", ge=2, le=8)
    sparse: bool = setting(False, "Video discriminators see only windows of frames that do not overlap.")
    discriminator_scales: int | None = setting(
        None,
        "Scales of the discriminators in spatial-1, one more in each finer stage; default: the preset's, 1 for s-flow "
        "and pix2pix.",
        ge=1,
        le=4,
    )
    discriminator_width: int | None = setting(
        None, "Channels of the discriminators' first layer; default: the preset's.", ge=1, le=512
    )


class SegmenterSettings(SettingsGroup):
    """Segmenter."""

    network: Literal["auto", "lite0-fpn", "deeplabv3-resnet50", "deeplabv3-resnet101", "deeplabv3-mobilenet"] = setting(
        "auto",
        "Network of --method segmenter: DeepLabV3, as in the paper, or EfficientNet-lite0 with a feature pyramid, "
        "whose ImageNet weights come with the extra `perceptual`; auto: the latter where its weights are there, else "
        "deeplabv3-resnet50.",
        since="0.1",
    )
    network_weights: str | None = setting(
        None,
        "Weights to start from: of torchvision's DeepLabV3, whose last layer is made anew; for lite0-fpn those of the "
        "encoder, from the store (`v2v weights list`) when not given.",
        metavar="FILE",
        affects_output=False,
        since="0.1",
    )
    pretrained: bool = setting(True, "Start lite0-fpn from the encoder's ImageNet weights.", since="0.1")
    class_weight: tuple[str, ...] = setting(
        (),
        "Weight of a class in the loss, by name or id, others 1; `balanced` for all classes by the inverse square root "
        "of their share of the pixels.",
        metavar="CLASS=WEIGHT|balanced",
        since="0.1",
    )
    focal: float = setting(
        0.0, "Gamma of the focal loss: how much less easy pixels count; 2 in its paper, 0 = cross entropy.", ge=0, le=10
    )
    held_out: float = setting(
        0.2,
        "Share of the labelled frames, the last ones of every shot, that are not trained on but measured in the end.",
        ge=0,
        le=0.9,
        since="0.1",
    )
    train_on: Literal["labels", "sparse-labels"] | None = setting(
        None,
        "Artifact with the label maps; sparse-labels where there is one, else labels, when not given.",
        since="0.1",
    )


class DataSettings(SettingsGroup):
    """Training data."""

    batch_size: int = setting(1, "Sequences per step, over all processes.", ge=1, le=256, common=True)
    max_frame_stride: int = setting(
        1,
        "Frames of a sequence lie 1 to this many frames of the clip apart, at random; needs flow of these strides.",
        ge=1,
        le=8,
    )
    first_frame: Literal["self", "real", "image"] = setting(
        "self",
        "How a video begins: self = without past frames (trained with dropped history), real = from given real frames, "
        "image = from frames of a `--method pix2pixhd` model (trained like real).",
    )
    drop_history: float = setting(
        0.2, "Share of sequences that begin without past frames (--first-frame self).", ge=0, le=1
    )
    flip: bool = setting(
        False, "Mirror half of the sequences left to right (labels, picture, depth; not for faces and poses)."
    )
    augment: float = setting(
        0.0,
        "Random shift, rotation and zoom of each sequence; 1 = up to a tenth of the size and 10 degrees, 0 = none.",
        ge=0,
        le=2,
    )
    drop_parts: float = setting(
        0.0,
        "Share of limbs, hands and faces, or of DensePose's 24 parts, left out of the input of every frame at random "
        "(pose, densepose); 0.05 in the paper's recipes.",
        ge=0,
        le=1,
    )
    label_jitter: float = setting(
        0.0,
        "Shift the boundaries in label maps at random, by this many pixels (standard deviation), and leave the frames "
        "as they are, so that the model stands label maps of another source (a simulator, a segmenter).",
        ge=0,
        le=32,
        since="0.1",
    )
    drop_thin: float = setting(
        0.0,
        "Probability with which each class of a sequence's label maps loses what is narrower than 5 pixels (poles), "
        "filled by what is beside it.",
        ge=0,
        le=1,
        since="0.1",
    )
    drop_classes: float = setting(
        0.0,
        "Probability with which each class of a sequence's label maps becomes 255 (no label).",
        ge=0,
        lt=1,
        since="0.1",
    )
    seed: int = setting(0, "Seed of the initial weights and of sampling.", ge=0)


class HardwareSettings(SettingsGroup):
    """Hardware."""

    device: str = setting("auto", "cpu, cuda, cuda:1, mps or auto.", affects_output=False, common=True)
    precision: Precision = setting(
        "auto",
        "Number format of convolutions; auto = bf16 on devices that are fast at it, else fp32; fp16 uses loss scaling.",
        affects_output=False,
    )
    threads: int = setting(
        0,
        "CPU threads of torch; 0 = number of idle cores, adjusted during training. Runs are bit-identical only "
        "with the same number.",
        ge=0,
        affects_output=False,
    )
    loader_workers: int | None = setting(
        None,
        "Processes that load batches in advance; 0 = load between steps. Default: 0 on a CPU, up to 4 on a GPU.",
        ge=0,
        le=64,
        affects_output=False,
    )
    gradient_checkpointing: bool = setting(
        False,
        "Recompute the generator's activations in the backward pass: less memory, more time.",
        affects_output=False,
    )
    zero: bool = setting(
        False,
        "Shard the optimiser states over the processes of torchrun (ZeRO stage 1): less memory for each than the plan "
        "shows.",
        affects_output=False,
    )
    channels_last: bool | None = setting(
        None, "Use the channels-last memory layout; default: only on CUDA.", affects_output=False
    )
    compile: bool = setting(
        False, "Compile the networks with torch.compile (CUDA; takes minutes at the start).", affects_output=False
    )


class OutputSettings(SettingsGroup):
    """Plan, snapshots and logs."""

    variant: str | None = setting(
        None,
        "Name of a variant, such as no-flow, whose checkpoints/<stage>-<variant> lies beside that of the plain model; "
        "finer stages start from the same variant.",
        metavar="NAME",
        pattern=r"^[a-z0-9][a-z0-9-]{0,39}$",
        affects_output=False,
    )
    measure: bool = setting(
        True,
        "Measure a few steps before training, for the time and memory in the plan; --budget needs it.",
        affects_output=False,
    )
    save_every: float = setting(
        60.0, "Seconds between snapshots, from which training resumes.", ge=0, affects_output=False
    )
    sample_every: int = setting(200, "Steps between pictures of samples; 0 = none.", ge=0, affects_output=False)
    tensorboard: bool = setting(True, "Write TensorBoard scalars and grids to <work>/logs.", affects_output=False)


class TrainConfig(StageConfig):
    """Train a model on the artifacts of a workspace.

    Reads frames, flow and condition maps, prints the plan (phases, losses, parameters, time), trains, and writes
    `checkpoints/<stage>`, or `checkpoints/<method>` for methods without stages. The same command again resumes a
    stopped run exactly. Sequences get longer during training: their number of frames doubles every --double-every
    epochs up to --max-frames. vid2vid trains coarse to fine: spatial-2 adds a finer scale to the model of spatial-1,
    spatial-3 another.
    """

    method: str = setting(
        "vid2vid",
        f"Training method: {'; '.join(f'{name} = {row.summary}' for name, row in METHODS.items())}.",
        choices=lambda: tuple(METHODS),
    )
    stage: Literal[SpatialStage, "all"] = setting(
        "spatial-1", "Spatial stage of vid2vid to train; all = every stage, one after another."
    )
    num_scales: int | None = setting(
        None,
        "Number of spatial scales of the final model, the same in every stage; spatial-k trains at 1/2^(scales - k) "
        "of the frames' size. Default: k, which trains at full size; required by --stage all.",
        ge=1,
        le=len(SPATIAL_STAGES),
    )
    domain: str | None = setting(
        None,
        "Kind of video, a named list of conditions (street: labels, frames: picture, ...); default: found from the "
        "artifacts.",
        choices=domain_names,
    )
    condition: tuple[str, ...] = setting(
        (),
        "A condition to add to those of --domain; without --domain, the conditions in this order. Examples: `--domain "
        "street --condition depth`, `--condition densepose --condition pose`.",
        choices=condition_names,
        since="0.1",
    )
    start_from: str | None = setting(
        None,
        "Checkpoint folder whose weights training starts from, such as a copy of this stage's; default: the coarser "
        "stage of the workspace.",
        metavar="FOLDER",
        affects_output=False,
    )

    model: ModelSettings = ModelSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    losses: LossSettings = LossSettings()
    adversaries: AdversarySettings = AdversarySettings()
    segmenter: SegmenterSettings = SegmenterSettings()
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
        """Names of the conditions in the order of their channels; empty = to be found from the artifacts."""
        of_domain = () if self.domain is None else find_domain(self.domain).conditions
        return tuple(dict.fromkeys((*of_domain, *self.condition)))

    def conditions_have(self, fact: str) -> bool:
        """Whether this attribute of `Condition` is true for some condition."""
        return conditions_have(self.conditions, fact)

    @property
    def scale(self) -> int:
        """k of spatial-k: how many scales the generator has at the end of this stage."""
        assert self.stage != "all", "resolved into single stages before"
        return 1 + SPATIAL_STAGES.index(self.stage)

    @property
    def downsamplings(self) -> int:
        """Downsamplings by two of frames and maps in this stage."""
        return 0 if self.num_scales is None else self.num_scales - self.scale

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint that this training writes."""
        return self.named(self.stage if METHODS[self.method].staged else self.method)

    def named(self, checkpoint: str) -> str:
        """The name of the variant's checkpoint of a stage or method."""
        variant = self.output.variant
        return checkpoint if variant is None else f"{checkpoint}-{variant}"

    def flag(self, name: str) -> str:
        """The flag that changes a setting from its default (`--no-…` for switches that are on)."""
        return f"--{'no-' * (settings_of(type(self))[name].default is True)}{name.replace('_', '-')}"

    def given(self, *names: str) -> list[str]:
        """The flags of those settings that differ from their defaults; a weight or share of 0 does not count."""
        found = []
        for name in names:
            value, default = self.value(name), settings_of(type(self))[name].default
            if value != default and not (isinstance(default, float) and value == 0):
                found.append(self.flag(name))
        return found
