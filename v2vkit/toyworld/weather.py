"""Weather of one clip: parameters of sun, sky, haze and the camera's exposure."""

from dataclasses import dataclass

from v2vkit.toyworld.geometry import Vector


@dataclass(frozen=True)
class Weather:
    """Weather parameters, colours in linear RGB.

    sun: light of the sun on a surface that faces it. above, below: ambient light on what faces up and down. haze:
    colour of the air and of the horizon, haze_length: metres after which 1/e of a surface's light remains. zenith:
    colour of the sky overhead. clouds: offset of the cloud noise, about -1 (none) to 1 (closed); cloud_light:
    brightness of the clouds. wet: darkening of the ground by rain, 0 to 1. exposure: gain per channel
    (brightness and white balance).
    """

    sun: Vector = (2.5, 2.2, 1.72)
    above: Vector = (0.40, 0.50, 0.70)
    below: Vector = (0.20, 0.175, 0.15)
    haze: Vector = (0.66, 0.76, 0.88)
    haze_length: float = 480.0
    zenith: Vector = (0.09, 0.27, 0.72)
    clouds: float = 0.12
    cloud_light: float = 1.0
    wet: float = 0.0
    exposure: Vector = (1.0, 1.0, 1.0)


CLEAR = Weather()
"""A clear day with few clouds: the "real" look without variation."""

SIMULATOR = Weather(
    sun=(1.05, 1.05, 1.0), above=(0.62, 0.64, 0.68), below=(0.34, 0.34, 0.34), haze_length=1e9, clouds=-2.0
)
"""The light of the "cg" look: the same in every clip, no clouds, no haze."""
