"""The time budget of a training: `90 s`, `4 min` or `2 h`, and the epochs of the schedule that fit into it."""

import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

from v2vkit.training.schedule import Schedule, least_epochs, shortened

_UNITS = {"h": 3600, "min": 60, "s": 1}


class Duration(NamedTuple):
    """A time span, typed as a number and a unit: `90 s`, `4 min`, `1.5 h`."""

    seconds: float

    def __str__(self) -> str:
        unit = next((unit for unit, size in _UNITS.items() if self.seconds % size == 0), "s")
        return f"{self.seconds / _UNITS[unit]:.3f}".rstrip("0").rstrip(".") + f" {unit}"


def _parse_duration(value: Any) -> Any:
    if isinstance(value, Duration):
        return value
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|min|h)", value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("expected a duration such as '90 s', '4 min' or '2 h'")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not seconds:
        raise ValueError("a duration must be longer than 0 s")
    return Duration(seconds)


DurationSetting = Annotated[Duration, BeforeValidator(_parse_duration), PlainSerializer(str, return_type=str)]


def epochs_within(schedule: Schedule, seconds: float, *, time_of: Callable[[Schedule], float]) -> int:
    """The most epochs to which the schedule can be shortened so that training takes at most `seconds`.

    Args:
        schedule: the full one.
        time_of: schedule -> seconds that training on it takes; more epochs must not take less.

    Returns:
        `schedule.epochs` where the full schedule fits, `least_epochs(schedule)` where nothing does.
    """
    if time_of(schedule) <= seconds:
        return schedule.epochs
    fits, too_many = least_epochs(schedule), schedule.epochs
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if time_of(shortened(schedule, middle)) <= seconds:
            fits = middle
        else:
            too_many = middle
    return fits


def time_text(seconds: float) -> str:
    """`4 min 05 s` or `2 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def planned_and_took(planned: float, took: float, *, resumed: bool) -> str:
    """Compares the time of the plan with that of the training, for the end of a log.

    Args:
        planned: seconds of the whole schedule.
        took: seconds of this run.
        resumed: this run trained only the rest of the schedule.
    """
    if resumed:
        return f"planned {time_text(planned)} for the whole training, took {time_text(took)} since it was resumed"
    return f"planned {time_text(planned)}, took {time_text(took)}"
