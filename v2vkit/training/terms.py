"""A loss as a row: what it is, what it needs and when it is on. What follows from that is derived here.

Which losses a method has is the method's business (`MethodSpec.losses`). The plan, the refusal of settings that would
do nothing, the networks that exist for a loss, the flow that is read and what `--continue` may change come from the
rows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from v2vkit.training.config import TrainConfig
from v2vkit.training.schedule import Schedule, frames_at


@dataclass(frozen=True)
class Need:
    """What losses and settings ask of the other settings.

    Attributes:
        met: whether these settings fulfil it.
        reason: why a loss without it is off, for the plan.
        refusal: what settings that need it are, such as "are for poses"; given without it, they are refused. Empty for
            the switches of ablations (--no-flow, --temporal-scales 0), beside which a recipe's other settings stay.
        settings: settings that need it, besides the weights of losses.
    """

    met: Callable[[TrainConfig], bool]
    reason: Callable[[TrainConfig], str]
    refusal: str = ""
    settings: tuple[str, ...] = ()


STREET = Need(
    lambda config: config.conditions_have("foreground"),
    lambda config: "only for streets",
    "are for streets",
    ("num_labels", "edges", "foreground"),
)
POSE = Need(lambda config: config.conditions_have("has_bodies"), lambda config: "only for poses", "is for poses")
MIRRORED = Need(
    lambda config: config.conditions_have("mirrors"),
    lambda config: "only where frames may be mirrored",
    "is for streets, and for pictures and depth",
    ("flip",),
)
PARTS = Need(
    lambda config: config.conditions_have("has_parts"),
    lambda config: "only for poses and DensePose",
    "is for poses and DensePose",
    ("drop_parts",),
)
PICTURE = Need(
    lambda config: config.conditions_have("shows_frame"),
    lambda config: "only for --condition picture",
    "is for --condition picture",
    ("picture_skip",),
)
DEPTH = Need(
    lambda config: "depth" in config.conditions,
    lambda config: "only for --condition depth",
    "are for --condition depth",
    ("depth_near", "depth_far"),
)
FROM_NOTHING = Need(
    lambda config: config.data.first_frame == "self",
    lambda config: f"--first-frame {config.data.first_frame}",
    "are for --first-frame self",
    ("drop_history",),
)
EDGES = Need(
    lambda config: config.conditions_have("shows_edges"),
    lambda config: "only for --condition edges",
    "are for --condition edges",
    ("edge_network", "laplacian_epochs", "balance_edges"),
)
EDGE_NETWORK = Need(lambda config: config.model.edge_network != "none", lambda config: "--edge-network none")
PAIRS = Need(lambda config: config.schedule.flow_epochs != 0, lambda config: "--flow-epochs 0")
PERCEPTUAL = Need(
    lambda config: config.losses.perceptual not in ("auto", "off"),
    lambda config: "v2v weights fetch vgg19, or --perceptual lite0",
    "need a network: v2v weights fetch vgg19, or --perceptual lite0",
)
PREDICTED_FLOW = Need(lambda config: config.model.flow, lambda config: "--no-flow")
VIDEO_DISCRIMINATORS = Need(lambda config: config.adversaries.temporal_scales > 0, lambda config: "--temporal-scales 0")
NEEDS = (
    STREET,
    POSE,
    MIRRORED,
    PARTS,
    PICTURE,
    DEPTH,
    FROM_NOTHING,
    EDGES,
    PERCEPTUAL,
    PREDICTED_FLOW,
    VIDEO_DISCRIMINATORS,
)


@dataclass(frozen=True)
class LossTerm:
    """One row: a loss of a method.

    Attributes:
        key: what it is called in logs (`loss/<key>` in TensorBoard).
        name: in words, for the plan.
        equation: what it computes, or where that is written.
        weight: the setting that weighs it; None = always on, at 1. At 0 it is off.
        share: what the setting's value is multiplied by.
        needs: without one of these it is off.
        network: name of the network that is built and trained for it, only where it is on.
        strides: it reads flow between frames that are so many frames of the sequence apart.
        num_frames: generated frames that a sequence must have: it is on from the epoch in which sequences reach them.
        begins: epoch (counted from 0) from which it is on.
        min_side: pixels that a frame's shorter side must have.
        compute: what a chunk gives -> the unweighted loss, or None where this chunk has none. The method says what a
            chunk is and does the rest; None = computed by the method itself, with other losses.
    """

    key: str
    name: str
    equation: str
    weight: str | None = None
    share: float = 1.0
    needs: tuple[Need, ...] = ()
    network: str | None = None
    strides: tuple[int, ...] = ()
    num_frames: int = 1
    begins: int = 0
    min_side: int = 1
    compute: Callable[[Any], Any] | None = None

    def why_off(self, config: TrainConfig) -> str:
        """Why this loss is off with these settings; empty = it is on. Nothing else decides it."""
        reasons = [need.reason(config) for need in self.needs if not need.met(config)]
        if not reasons and self.weight is not None and not config.value(self.weight):
            reasons = [f"{config.flag(self.weight)} 0"]
        return reasons[0] if reasons else ""

    def counts_at(self, epoch: int, num_frames: int) -> bool:
        """Whether a loss that is on counts in that epoch, with sequences of so many generated frames."""
        return epoch >= self.begins and num_frames >= self.num_frames

    def factor(self, config: TrainConfig) -> float:
        """What the loss is multiplied by, where it is on."""
        return 1.0 if self.weight is None else config.value(self.weight) * self.share


def losses_on(terms: Iterable[LossTerm], config: TrainConfig) -> tuple[LossTerm, ...]:
    """Those that are on with these settings."""
    return tuple(term for term in terms if not term.why_off(config))


def needs_met(terms: Iterable[LossTerm], need: Need, config: TrainConfig) -> bool:
    """Whether a loss that has this need is on."""
    return any(need in term.needs for term in losses_on(terms, config))


def losses_text(terms: Iterable[LossTerm], config: TrainConfig, schedule: Schedule) -> list[str]:
    """A line per loss: its weight and what it computes, or why it is off."""
    longest = frames_at(schedule, schedule.epochs - 1)
    lines = []
    for term in terms:
        late = f"; never: it needs sequences of {term.num_frames} frames (--max-frames)"
        text = f"{term.equation}{late * (term.num_frames > longest)}"
        off = term.why_off(config)
        lines.append(f"{term.name} OFF ({off})" if off else f"{term.name} {term.factor(config):g} ({text})")
    return lines


def read_strides(terms: Iterable[LossTerm], config: TrainConfig) -> tuple[int, ...]:
    """Strides of the flow that the losses read, in frames of a sequence."""
    return tuple(sorted({stride for term in losses_on(terms, config) for stride in term.strides}))


def idle_settings(terms: Iterable[LossTerm], config: TrainConfig) -> list[tuple[str, list[str], list[str]]]:
    """Settings that were given and would do nothing, because what they need is not there.

    Returns:
        Per unmet need: its refusal, the flags that it is about, and those of them that were given.
    """
    found = []
    for need in NEEDS:
        weights = [term.weight for term in terms if need in term.needs and term.weight is not None]
        names = [*need.settings, *dict.fromkeys(weights)]
        if need.refusal and not need.met(config) and (given := config.given(*names)):
            found.append((need.refusal, [config.flag(name) for name in names], given))
    return found


def may_change(terms: Iterable[LossTerm], name: str, old: float, new: float) -> bool:
    """Whether a training may go on with this weight changed: it is one, and no network comes or goes with it."""
    owned = [term for term in terms if term.weight == name]
    return bool(owned) and (bool(old) == bool(new) or all(term.network is None for term in owned))
