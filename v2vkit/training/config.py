"""The settings of `v2v train`."""

from typing import Any, Literal

from v2vkit.conditions.domains import conditions_have, domain_names, find_domain
from v2vkit.conditions.registry import condition_names
from v2vkit.config import Precision, Preset, StageConfig, Upsample, setting
from v2vkit.training.schedule import Schedule, flow_strides

StageName = Literal["spatial-1", "spatial-2", "spatial-3", "image", "all"]


MAX_TEMPORAL_SCALES = 5
"""More would look farther than the longest clips reach (K^5 frames)."""


class TrainConfig(StageConfig):
    """Train one stage of the model on the artifacts of a workspace.

    Reads frames, flow and the domain's maps, prints the plan (phases, losses, parameters, time), trains, and writes
    `checkpoints/<stage>`. The same command again resumes exactly where a stopped run was. Sequences get longer as
    training goes on: the number of frames doubles every --double-every epochs up to --max-frames. Coarse to fine:
    spatial-2 puts a finer scale on the model of spatial-1, spatial-3 another. The stage `image` is apart: it trains a
    generator of single images on frames and maps, without flow, losses over time or lengths of sequences; it makes
    first frames, and by itself it is the pix2pixHD baseline.
    """

    stage: StageName = setting("spatial-1", "Which stage to train; all: every spatial stage, one after another.")
    covst: float = setting(
        0.0,
        "Train the COVST baseline: `image` with this share of the last frame's features where the flow is certain, "
        "into checkpoints/covst; 0 = not.",
        ge=0,
        le=1,
    )
    num_scales: int | None = setting(
        None,
        "Spatial scales in all, the same for every stage from spatial-1 on; spatial-k trains at 1/2^(scales - k) of "
        "the frames' size. Not given: k; --stage all needs it.",
        ge=1,
        le=3,
    )
    start_from: str | None = setting(
        None,
        "Checkpoint folder to start from, such as a copy of this stage's to train it on; that of the coarser stage in "
        "the workspace when not given.",
        metavar="FOLDER",
        affects_output=False,
    )
    fix_epochs: int = setting(
        0, "Epochs at the beginning in which only the newest scale trains (spatial-2 and -3).", ge=0, le=100000
    )
    preset: Preset = setting("small", "Size of the networks: tiny for a few CPU cores, paper as published.")
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
    depth_near: float | None = setting(
        None,
        "Nearest depth in metres that is told apart (depth ingested with --depth-scale); 1 when not given.",
        gt=0,
        since="0.1",
    )
    depth_far: float | None = setting(None, "Farthest, likewise; 100 when not given.", gt=0, since="0.1")
    num_labels: int | None = setting(None, "Label classes (street); the highest id + 1 when not given.", ge=1, le=255)
    edges: bool = setting(True, "Condition on instance edges too (street).")
    foreground: tuple[int, ...] = setting((), "Label id with a foreground branch of its own, eq. 9 (street).")
    feature_dims: int = setting(
        0,
        "Numbers that describe the look of each region (object, label or part of the face), found by an encoder that "
        "trains along; rendering then draws them (`v2v sample-style`). 0 = none, 3 in the paper (street, face).",
        ge=0,
        le=16,
        since="0.1",
    )
    composition: Literal["paper", "published"] = setting("paper", "How the foreground is composed.")
    picture_skip: bool = setting(True, "Add to the picture instead of making every frame anew (picture).", since="0.1")
    flow: bool = setting(True, "Predict flow and warp the last frame; off: every pixel is hallucinated.")

    epochs: int = setting(20, "Epochs at the full learning rate.", ge=0, le=100000)
    decay_epochs: int = setting(20, "Epochs over which the learning rate then falls to zero.", ge=0, le=100000)
    first_frames: int = setting(4, "Generated frames per sequence at the beginning.", ge=1, le=1024)
    double_every: int = setting(5, "Epochs after which that number doubles; 0 = never.", ge=0)
    max_frames: int = setting(16, "Most generated frames per sequence.", ge=1, le=1024)
    max_step: int = setting(
        1,
        "Frames of a sequence lie 1 to this many frames apart, drawn for each; needs flow of all those strides.",
        ge=1,
        le=8,
    )
    chunk: int = setting(2, "Frames per optimiser step; history before it carries no gradient.", ge=1, le=64)
    batch_size: int = setting(1, "Sequences per step.", ge=1, le=256)
    learning_rate: float = setting(2e-4, "Learning rate of Adam (0.5, 0.999).", gt=0, le=1)
    first_frame: Literal["self", "real", "image"] = setting(
        "self",
        "How a video begins: self = from nothing (trained with dropped history), real = from given frames, image = "
        "from frames that the stage `image` makes (trained like real).",
    )
    drop_history: float = setting(0.2, "Share of sequences that begin from nothing (first frame: self).", ge=0, le=1)
    flip: bool = setting(False, "Mirror half of the sequences (labels, picture, depth; never faces or poses).")

    jitter: float = setting(
        0.0, "Shift, turn and zoom each sequence at random; 1 = up to a tenth of the size and 10 degrees.", ge=0, le=2
    )

    drop_parts: float = setting(
        0.0,
        "Share of limbs, hands and faces left out of the drawings, and of the 24 parts of DensePose, anew for every "
        "frame (pose, densepose); 0.05 in the paper's recipes.",
        ge=0,
        le=1,
    )

    temporal_scales: int = setting(
        2, "Video discriminators, each looking K times as far; 0 = none.", ge=0, le=MAX_TEMPORAL_SCALES
    )
    video_frames: int = setting(3, "Frames K that a video discriminator judges.", ge=2, le=8)
    sparse: bool = setting(False, "Video discriminators judge only windows that share no frame.")
    gan: Literal["lsgan", "hinge"] = setting("lsgan", "The adversarial loss.")
    lambda_feature: float = setting(10.0, "Weight of feature matching.", ge=0)
    lambda_flow: float = setting(10.0, "Weight of the losses of the predicted flow (eq. 8).", ge=0)
    lambda_warp: float = setting(
        10.0,
        "Weight of the loss that makes generated frames move with the real flow; more steadies them.",
        ge=0,
        since="0.1",
    )
    lambda_temporal: float = setting(1.0, "Weight of the video discriminators' losses.", ge=0)
    lambda_face: float = setting(
        0.0, "Weight of a discriminator of the face's surroundings (pose); 2 in the paper's recipes, 0 = none.", ge=0
    )
    lambda_vgg: float = setting(10.0, "Weight of the VGG loss; needs --vgg-weights.", ge=0)
    lambda_style: float = setting(0.0, "Weight of the style (Gram) loss; needs --vgg-weights.", ge=0)
    lambda_mask: float = setting(1.0, "Weight of the loss that pushes the mask to warping.", ge=0)
    lambda_l1: float = setting(0.0, "Weight of a plain pixel loss; steadies tiny runs.", ge=0)
    vgg_weights: str | None = setting(
        None, "File with torchvision's VGG-19 weights.", metavar="PATH", affects_output=False
    )

    width: int | None = setting(None, "Generator width, instead of the preset's.", ge=1, le=512)
    num_down: int | None = setting(None, "Generator halvings, instead of the preset's.", ge=1, le=6)
    num_blocks: int | None = setting(None, "Generator residual blocks, instead of the preset's.", ge=0, le=64)
    num_blocks_fine: int | None = setting(
        None, "Residual blocks of finer scales, instead of the preset's.", ge=0, le=64
    )
    num_enhancers: int = setting(
        0, "Local enhancers of the image generator; each doubles the size at which it sees.", ge=0, le=5
    )
    upsample: Upsample | None = setting(None, "How the generator enlarges, instead of the preset's way.")
    norm: Literal["instance", "batch"] | None = setting(
        None,
        "Normalisation of G and D: instance (default); batch, with which the published weights were trained.",
    )
    discriminator_scales: int | None = setting(
        None,
        "Sizes that discriminators judge in spatial-1, instead of the preset's; one more per finer stage.",
        ge=1,
        le=4,
    )
    discriminator_width: int | None = setting(None, "Discriminator width, instead of the preset's.", ge=1, le=512)

    warm_up: float = setting(
        0.0, "Epochs over which losses that begin with longer sequences grow to their weight.", ge=0, le=1000
    )
    gradient_clip: float = setting(0.0, "Largest gradient norm of a network; 0 = any.", ge=0)
    checkpointing: bool = setting(
        False,
        "Forget the generator's activations and compute them again: less memory, more time.",
        affects_output=False,
    )
    shard: bool = setting(
        False,
        "Share out the optimisers' moments between a launcher's processes: less memory on each than the plan says.",
        affects_output=False,
    )
    channels_last: bool | None = setting(None, "Memory layout; on CUDA by default.", affects_output=False)
    compile: bool = setting(False, "torch.compile the networks (CUDA; minutes at the beginning).", affects_output=False)

    ema: float = setting(0.99, "Decay of the averaged weights that rendering uses; 0 = the last weights.", ge=0, lt=1)
    seed: int = setting(0, "Seed of initial weights and sampling.", ge=0)
    device: str = setting("auto", "cpu, cuda, cuda:1, mps or auto.", affects_output=False)
    precision: Precision = setting(
        "auto",
        "What convolutions compute in; auto: bf16 where the device is fast at it; fp16 scales the losses.",
        affects_output=False,
    )
    threads: int = setting(0, "CPU threads of torch; 0 = torch's choice.", ge=0, affects_output=False)
    save_every: float = setting(60.0, "Seconds between snapshots to resume from.", ge=0, affects_output=False)
    sample_every: int = setting(200, "Steps between sample strips; 0 = none.", ge=0, affects_output=False)
    tensorboard: bool = setting(True, "Write TensorBoard scalars and strips to <work>/logs.", affects_output=False)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions in the order of their channels; empty = found from the artifacts."""
        of_domain = () if self.domain is None else find_domain(self.domain).conditions
        return tuple(dict.fromkeys((*of_domain, *self.condition)))

    def conditions_have(self, fact: str) -> bool:
        """Whether some condition has this fact (an attribute of `Condition` that is true)."""
        return conditions_have(self.conditions, fact)

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            self.epochs, self.decay_epochs, self.first_frames, self.double_every, self.max_frames, self.fix_epochs
        )

    @property
    def scale(self) -> int:
        """k of spatial-k: how many scales the generator has at the end of this stage."""
        return 1 if self.images else int(self.stage.rpartition("-")[2])

    @property
    def images(self) -> bool:
        """Whether this stage trains an image generator."""
        return self.stage == "image"

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint that this stage writes."""
        return "covst" if self.covst else self.stage

    @property
    def halvings(self) -> int:
        """How often frames and maps are halved before this stage sees them."""
        return 0 if self.num_scales is None else self.num_scales - self.scale

    @property
    def video_discriminators(self) -> int:
        """How many video discriminators are trained: none where their losses weigh nothing."""
        return self.temporal_scales if self.lambda_temporal else 0

    @property
    def strides(self) -> tuple[int, ...]:
        """Spacing K^s of the frames that video discriminator s judges; the flow losses need stride 1."""
        idle = not (self.flow or self.covst or self.video_discriminators)
        if idle or (self.images and not self.covst):
            return ()
        return tuple(self.video_frames**scale for scale in range(max(1, self.video_discriminators)))

    @property
    def flow_strides(self) -> tuple[int, ...]:
        """Strides of the flow that training reads: those of the video discriminators, times every step."""
        return flow_strides(self.strides, self.max_step)

    @property
    def spans(self) -> tuple[int, ...]:
        """Generated frames from the first to the last that each video discriminator judges at once."""
        return tuple((self.video_frames - 1) * stride + 1 for stride in self.strides)

    def given(self, *names: str) -> list[str]:
        """The flags of those settings that are not at their defaults; a weight or share of 0 is none either."""
        found = []
        for name in names:
            value, default = getattr(self, name), type(self).model_fields[name].default
            if value != default and not (isinstance(default, float) and value == 0):
                found.append(flag_of(name))
        return found

    def without_meaning_for_images(self) -> list[str]:
        """The flags given that contradict what `for_images` puts in their place."""
        done = self.for_images()
        changed = [name for name in type(self).model_fields if getattr(self, name) != getattr(done, name)]
        return self.given(*changed)

    def for_images(self) -> "TrainConfig":
        """The settings with those that have no meaning for an image generator at what it does."""
        values: dict[str, Any] = {"flow": False, "temporal_scales": 0, "first_frame": "self", "drop_history": 0.0}
        if not self.covst:
            values |= {"first_frames": 1, "double_every": 0, "max_frames": 1, "chunk": 1}
        return self.model_copy(update=values)

    def newest_scale(self, epoch: int) -> int:
        """The first scale that trains in `epoch` (counted from 0): the newest one alone at first, then all."""
        return self.scale - 1 if epoch < self.fix_epochs else 0


def flag_of(name: str) -> str:
    """The flag that moves a setting from its default."""
    return f"--{'no-' * (TrainConfig.model_fields[name].default is True)}{name.replace('_', '-')}"
