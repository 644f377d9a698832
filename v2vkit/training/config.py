"""The settings of `v2v train`, in groups."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from v2vkit.conditions.domains import conditions_have, domain_names, find_domain
from v2vkit.conditions.registry import condition_names
from v2vkit.config import (
    MAX_THREADS,
    NAME_PATTERN,
    SPATIAL_STAGES,
    Precision,
    SettingsGroup,
    SpatialStage,
    StageConfig,
    setting,
    settings_of,
)
from v2vkit.training.loss_settings import AdversarySettings, LossSettings
from v2vkit.training.methods.registry import METHODS
from v2vkit.training.model_settings import ModelSettings, ScheduleSettings
from v2vkit.training.segmenter_settings import SegmenterSettings

if TYPE_CHECKING:
    from v2vkit.conditions.base import Fact


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
    history_noise: float = setting(
        0.0,
        "Standard deviation of Gaussian noise on the past frames that the generator sees, in [-1, 1]; 0 = none.",
        ge=0,
        le=1,
        since="0.1",
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
    seed: int = setting(0, "Seed of the initial weights and of sampling.", ge=0, lt=1 << 63)


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
        le=MAX_THREADS,
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
    shard: bool = setting(
        False,
        "Shard vid2vid's generator over the processes of torchrun (FSDP2): weights, gradients, optimiser state, EMA. "
        "Less memory for each than the plan shows, more communication.",
        affects_output=False,
    )
    channels_last: bool | None = setting(
        None, "Use the channels-last memory layout; default: only on CUDA.", affects_output=False
    )
    compile: bool = setting(
        False,
        "Compile the networks with torch.compile (meant for CUDA; takes minutes at the start).",
        affects_output=False,
    )


class OutputSettings(SettingsGroup):
    """Plan, snapshots and logs."""

    variant: str | None = setting(
        None,
        "Name of a variant, such as no-flow, whose checkpoints/<stage>-<variant> lies beside that of the plain model; "
        "finer stages start from the same variant.",
        metavar="NAME",
        pattern=NAME_PATTERN,
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

    def conditions_have(self, fact: "Fact") -> bool:
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
