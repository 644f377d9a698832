"""The units of work of a stage: the clips of a shard, and which of them have to wait for others."""

from dataclasses import dataclass

from v2vkit.artifacts.manifest import ClipInfo, Manifest
from v2vkit.artifacts.shots import continues


@dataclass(frozen=True)
class Unit:
    """The clips of a shard; `before` is the last clip of the previous shard if the first clip continues its shot."""

    number: int
    clips: tuple[ClipInfo, ...]
    before: ClipInfo | None = None


def units_of(started: Manifest, carries_over: bool) -> list[Unit]:
    """One unit per shard of the artifact."""
    units: list[Unit] = []
    for number, clips in enumerate(started.units):
        last = units[-1].clips[-1] if carries_over and units and units[-1].clips else None
        units.append(Unit(number, clips, last if clips and continues(last, clips[0]) else None))
    return units


def in_waves(units: list[Unit], todo: list[Unit]) -> list[list[Unit]]:
    """Units grouped by when they can be made: one that continues a shot is a wave later than the previous unit."""
    depths: list[int] = []
    for unit in units:
        depths.append(0 if unit.before is None else depths[-1] + 1)
    waves: dict[int, list[Unit]] = {}
    for unit in todo:
        waves.setdefault(depths[unit.number], []).append(unit)
    return [waves[depth] for depth in sorted(waves)]
