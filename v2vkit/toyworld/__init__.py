"""A procedural street seen by a moving camera, with exact label, instance, depth and backward-flow maps.

`make_scene(seed, num_frames, (width, height))` builds a street, `render_frame(scene, t)` draws it.
"""

from v2vkit.toyworld.render import ToyFrame, render_frame
from v2vkit.toyworld.scene import LABELS, Scene
from v2vkit.toyworld.town import make_scene

__all__ = ["LABELS", "Scene", "ToyFrame", "make_scene", "render_frame"]
