"""Published numbers, as reference beside measured ones.

They come from other data, sizes and networks, so they cannot be compared by digits.
"""

from dataclasses import dataclass, field

PREFERRED = "vid2vid preferred, short / long"
"""Heading: share of the raters who preferred vid2vid, for short and for long sequences."""


@dataclass(frozen=True)
class PublishedTable:
    """Numbers of a paper.

    Attributes:
        source: paper and tables.
        data: what they were measured on.
        rows: label of a row -> heading -> the number as printed.
    """

    source: str
    data: str
    rows: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def headings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(heading for row in self.rows.values() for heading in row))

    def row(self, label: str) -> dict[str, str]:
        """The numbers for a row of this label, whatever its case; {} if there are none."""
        return next((row for name, row in self.rows.items() if name.lower() == label.lower()), {})


def _row(i3d: str, resnext: str, preferred: str = "") -> dict[str, str]:
    row = {"VFID I3D": i3d, "VFID ResNeXt": resnext}
    return row | ({PREFERRED: preferred} if preferred else {})


PUBLISHED: dict[str, PublishedTable] = {
    "cityscapes": PublishedTable(
        "Wang et al. 2018 (vid2vid), tables 1 and 2",
        "Cityscapes: VFID and short sequences on 500 clips of 30 frames, long ones on 3 of 600 to 1200 frames",
        {
            "vid2vid": _row("4.66", "0.15"),
            "pix2pixHD": _row("5.57", "0.18", "0.87 / 0.83"),
            "COVST": _row("5.55", "0.18", "0.84 / 0.80"),
            "no flow": {PREFERRED: "0.67"},
            "no video discriminator": {PREFERRED: "0.84"},
            "no foreground": {PREFERRED: "0.80"},
        },
    ),
    "cityscapes-prediction": PublishedTable(
        "Wang et al. 2018 (vid2vid), table 3",
        "future video prediction on Cityscapes",
        {
            "vid2vid": _row("3.44", "0.18"),
            "PredNet": {**_row("11.18", "0.59"), "vid2vid preferred": "0.92"},
            "MCNet": {**_row("10.00", "0.43"), "vid2vid preferred": "0.98"},
        },
    ),
    "s-flow-cityscapes": PublishedTable(
        "Miron and Coscas 2019 (S-Flow GAN), tables 1 and 3",
        "Cityscapes; its FVD is not on the usual scale",
        {
            "S-Flow": {"pixel accuracy": ".83", "mIoU": ".69", "FID": "69.81", "FVD": "0.326"},
            "no L_flow": {"FID": "69.25"},
            "pix2pix": {"pixel accuracy": ".728", "mIoU": ".532", "FID": "116.69"},
            "pix2pixHD": {"pixel accuracy": ".81", "mIoU": ".67", "FID": "71.21"},
            "vid2vid": {"FID": "154.36", "FVD": "0.706"},
            "real frames": {"pixel accuracy": ".86", "mIoU": ".701"},
        },
    ),
    "s-flow-synthia": PublishedTable(
        "Miron and Coscas 2019 (S-Flow GAN), table 2",
        "Synthia",
        {
            "S-Flow": {"pixel accuracy": ".861", "mIoU": ".740"},
            "pix2pix": {"pixel accuracy": ".54", "mIoU": ".36"},
            "pix2pixHD": {"pixel accuracy": ".799", "mIoU": ".560"},
            "real frames": {"pixel accuracy": ".913", "mIoU": ".842"},
        },
    ),
}
"""Name of `--published` -> table. The vid2vid paper has no such numbers for faces and poses."""


def published_names() -> tuple[str, ...]:
    """The choices of `--published`."""
    return ("none", *PUBLISHED)
