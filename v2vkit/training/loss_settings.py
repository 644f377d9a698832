"""Groups of `TrainConfig`: the losses and the discriminators."""

from typing import Literal

from v2vkit.config import SettingsGroup, setting
from v2vkit.models.perceptual_table import NETWORKS

MAX_TEMPORAL_SCALES = 5
"""More would span more frames (K^5) than the longest clips have."""


class LossSettings(SettingsGroup):
    """Weights of the losses."""

    lambda_feature: float = setting(10.0, "Weight of the feature-matching loss.", ge=0)
    lambda_temporal: float = setting(1.0, "Weight of the video discriminators' losses.", ge=0)
    lambda_face: float = setting(
        0.0, "Weight of the loss of a face discriminator (pose, densepose); 0 = none, 2 in the paper's recipes.", ge=0
    )
    lambda_l1: float = setting(
        0.0, "Weight of the L1 pixel loss; reduces flicker in tiny runs. Default for pix2pix: 100.", ge=0
    )
    perceptual: str = setting(
        "auto",
        "Network of the perceptual loss; auto = VGG-19 if `v2v weights` has it, else off (s-flow: lite0 if installed). "
        "The weights of lite0 and hed come with Python packages.",
        choices=lambda: ("auto", "off", *NETWORKS),
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
