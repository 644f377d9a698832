"""Settings of `v2v train --method segmenter`."""

from typing import Literal

from v2vkit.config import SettingsGroup, setting


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
