"""A loss as a row of a table (`LossTerm`): what it computes, what it needs and when it is on.

`MethodSpec.losses` lists the rows of a method. Derived from them: the plan, the refusal of settings without effect, the
networks that are built for a loss, the flow that is read and what `--continue` may change.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from v2vkit.training.config import TrainConfig
from v2vkit.training.schedule import Schedule, frames_at, full_epoch, full_schedule, ramp_factor, shortened


@dataclass(frozen=True)
class Need:
    """A requirement of losses and settings on the other settings.

    Attributes:
        met: settings -> whether they fulfil it.
        reason: settings -> why a loss is off without it, for the plan.
        refusal: predicate of the error for settings given without it, such as "are for poses". Empty for the switches
            of ablations (--no-flow, --temporal-scales 0), which leave a recipe's other settings valid.
        settings: settings that need it, besides loss weights.
    """

    met: Callable[[TrainConfig], bool]
    reason: Callable[[TrainConfig], str]
    refusal: str = ""
    settings: tuple[str, ...] = ()


def _condition(name: str, *settings: str) -> Need:
    """One condition, for settings that it alone has."""
    reason = f"for --condition {name}"
    return Need(lambda config: name in config.conditions, lambda config: f"only {reason}", f"are {reason}", settings)


STREET = Need(
    lambda config: config.conditions_have("foreground"),
    lambda config: "only for streets",
    "are for streets",
    ("num_labels", "edges", "foreground"),
)
FOREGROUND = Need(
    lambda config: bool(config.model.foreground),
    lambda config: "no --foreground",
    "needs --foreground",
    ("composition",),
)
BODIES = Need(
    lambda config: config.conditions_have("has_bodies"),
    lambda config: "only for poses and DensePose",
    "is for poses and DensePose",
)
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
LABEL_NOISE = _condition("labels", "label_jitter", "drop_thin", "drop_classes")
PICTURE = Need(
    lambda config: config.conditions_have("shows_frame"),
    lambda config: "only for --condition picture",
    "is for --condition picture",
    ("picture_skip",),
)
DEPTH = _condition("depth", "depth_near", "depth_far")
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
EDGE_NETWORK = Need(
    lambda config: config.model.edge_network != "none",
    lambda config: "--edge-network none",
    "are for an edge network",
    ("laplacian_epochs", "balance_edges"),
)
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
    FOREGROUND,
    BODIES,
    MIRRORED,
    PARTS,
    LABEL_NOISE,
    PICTURE,
    DEPTH,
    FROM_NOTHING,
    EDGES,
    EDGE_NETWORK,
    PERCEPTUAL,
    PREDICTED_FLOW,
    VIDEO_DISCRIMINATORS,
)


@dataclass(frozen=True)
class LossTerm:
    """A loss of a method.

    Attributes:
        key: its name in logs (`loss/<key>` in TensorBoard).
        name: its name in the plan.
        equation: formula or reference.
        weight: the setting with its weight; None = always on with weight 1. Weight 0 turns it off.
        share: factor of the weight.
        needs: requirements; if one is not met, it is off.
        network: name of the discriminator that is built and trained for it, if it is on.
        strides: strides of the flow that it reads, in frames of the sequence.
        num_frames: generated frames that a sequence needs; it starts in the epoch in which sequences have as many.
        begins: first epoch (counted from 0) in which it is on.
        min_side: pixels that the shorter side of a frame needs.
        compute: chunk -> unweighted loss (rows with a network: its input), or None if this chunk has none; None = the
            method computes it together with other losses.
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
        """Why this loss is off with these settings; empty = it is on. The only place that decides this."""
        reasons = [need.reason(config) for need in self.needs if not need.met(config)]
        if not reasons and self.weight is not None and not config.value(self.weight):
            reasons = [f"{config.flag(self.weight)} 0"]
        return reasons[0] if reasons else ""

    def counts_at(self, epoch: int, num_frames: int) -> bool:
        """Whether a loss that is on counts in that epoch, with sequences of so many generated frames."""
        return epoch >= self.begins and num_frames >= self.num_frames

    def factor(self, config: TrainConfig) -> float:
        """The weight of the loss, if it is on."""
        return 1.0 if self.weight is None else config.value(self.weight) * self.share


def losses_on(terms: Iterable[LossTerm], config: TrainConfig) -> tuple[LossTerm, ...]:
    """The losses that are on with these settings."""
    return tuple(term for term in terms if not term.why_off(config))


def weights_now(
    terms: Iterable[LossTerm], config: TrainConfig, schedule: Schedule, *, epoch: int, num_frames: int, progress: float
) -> dict[LossTerm, float]:
    """The losses that sequences of `num_frames` generated frames are long enough for, with their weights.

    Args:
        progress: epochs done, with fraction.
    """
    ramp = config.schedule.loss_ramp
    return {
        term: term.factor(config) * ramp_factor(schedule, term.num_frames, progress=progress, ramp=ramp)
        for term in terms
        if term.counts_at(epoch, num_frames)
    }


def needs_met(terms: Iterable[LossTerm], need: Need, config: TrainConfig) -> bool:
    """Whether a loss with this requirement is on."""
    return any(need in term.needs for term in losses_on(terms, config))


def losses_text(terms: Iterable[LossTerm], config: TrainConfig, schedule: Schedule, longest: int) -> list[str]:
    """One line per loss for the plan: its weight and formula, or why it is off.

    Args:
        longest: frames that can be generated of the longest clip.
    """
    lines = []
    for term in terms:
        off, never = term.why_off(config), _why_never(term, schedule, longest)
        text = term.equation + f"; never: {never}" * bool(never)
        lines.append(f"{term.name} OFF ({off})" if off else f"{term.name} {term.factor(config):g} ({text})")
    return lines


def _reached(term: LossTerm, schedule: Schedule) -> bool:
    """Whether a loss that is on counts in the last epoch; where it does not, it counts in none."""
    last = schedule.epochs - 1
    return term.counts_at(full_epoch(schedule, last), frames_at(schedule, last))


def _why_never(term: LossTerm, schedule: Schedule, longest: int) -> str:
    """Why a loss that is on counts in no epoch of the schedule, and what to change; empty = it counts in some."""
    if term.num_frames > longest:
        return (
            f"it needs sequences of {term.num_frames} frames, and the longest clip has {longest} beyond its first ones"
        )
    if _reached(term, schedule):
        return ""
    full = full_schedule(schedule)
    if _reached(term, full):
        enough = next(number for number in range(1, full.epochs + 1) if _reached(term, shortened(full, number)))
        left = f"--budget leaves {schedule.epochs} of {full.epochs} epochs"
        return f"{left}, and with fewer than {enough} it does not begin; give a longer --budget"
    if term.num_frames > full.max_frames:
        flag = "--flow-epochs" if PAIRS in term.needs else "--max-frames"
        return f"it needs sequences of {term.num_frames} frames ({flag})"
    flags = "--epochs, --double-every" if full.double_every else "--double-every 0"
    return f"it needs sequences of {term.num_frames} frames, which the epochs do not reach ({flags})"


def read_strides(terms: Iterable[LossTerm], config: TrainConfig) -> tuple[int, ...]:
    """Strides of the flow that the losses read, in frames of a sequence."""
    return tuple(sorted({stride for term in losses_on(terms, config) for stride in term.strides}))


def settings_without_effect(terms: Iterable[LossTerm], config: TrainConfig) -> list[tuple[str, list[str], list[str]]]:
    """Settings that were given without what they need, so that they have no effect.

    Returns:
        For each unmet requirement: its refusal, all flags that need it, and those of them that were given.
    """
    found = []
    for need in NEEDS:
        weights = [term.weight for term in terms if need in term.needs and term.weight is not None]
        names = [*need.settings, *dict.fromkeys(weights)]
        if need.refusal and not need.met(config) and (given := config.given(*names)):
            found.append((need.refusal, [config.flag(name) for name in names], given))
    return found


def may_change(terms: Iterable[LossTerm], name: str, old: float, new: float) -> bool:
    """Whether `--continue` may change this setting: a loss weight whose change adds or removes no network."""
    owned = [term for term in terms if term.weight == name]
    return bool(owned) and (bool(old) == bool(new) or all(term.network is None for term in owned))
