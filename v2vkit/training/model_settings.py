"""Groups of `TrainConfig`: the networks, and the schedule of their training."""

from typing import Literal

from v2vkit.classes.table import ClassName
from v2vkit.config import (
    Preset,
    SettingsGroup,
    Upsample,
    setting,
)
from v2vkit.models.prediction import OBSERVE
from v2vkit.training.budget import DurationSetting


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
