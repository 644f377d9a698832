"""S-Flow's independent frames against vid2vid's recurrent ones, of generators of the same width, untrained.

Rates are of `Session.render` over the same source maps, in turns, the fastest of some: label channels and an
edge map. The last row is drift: how much a frame at the end of a long video differs from the same frame at its
beginning.
"""

import time
from collections.abc import Iterator
from itertools import repeat

import numpy as np
import torch

from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.session import Session
from v2vkit.models.any_generator import AnyGenerator, AnyGeneratorConfig, build_generator
from v2vkit.models.dned import DNEDConfig
from v2vkit.models.presets import EDGE_NETWORKS, generator_config, image_generator_config
from v2vkit.models.sflow_generator import SFlowConfig

Row = tuple[str, float, str]
CHANNELS = 14
WIDTH, HEIGHT = 256, 128
FRAMES, TURNS = 12, 4
LONG = 10_000
DRIFT_SIZE = (32, 24)


def _built(config: AnyGeneratorConfig) -> AnyGenerator:
    torch.manual_seed(0)
    return build_generator(config).eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _maps(count: int, width: int, height: int) -> list[ConditionedFrame]:
    rng = np.random.default_rng(0)
    return [ConditionedFrame(rng.random((CHANNELS, height, width)).astype(np.float32)) for _ in range(count)]


def _generators() -> dict[str, AnyGenerator]:
    image = image_generator_config("tiny", source_channels=CHANNELS, num_down=3)
    edges = {"image": image, "edge_channel": CHANNELS - 1}
    return {
        "vid2vid": _built(generator_config("tiny", source_channels=CHANNELS, num_down=3)),
        "s-flow": _built(SFlowConfig.model_validate({**edges, "dned": DNEDConfig(width=EDGE_NETWORKS["tiny"])})),
        "s-flow without edge network": _built(SFlowConfig.model_validate(edges)),
    }


def _seconds(frames: list[ConditionedFrame]) -> dict[str, float]:
    """Per frame, the fastest of some turns; `one by one` is s-flow without batches."""
    generators = _generators()

    def one_by_one() -> None:
        session = Session(generators["s-flow"])
        for frame in frames:
            session.step(frame)

    def together(generator: AnyGenerator) -> None:
        for _ in Session(generator).render(frames):
            pass

    best: dict[str, float] = {}
    for turn in range(TURNS + 1):  # the first warms up
        for name in (*generators, "one by one"):
            start = time.perf_counter()
            one_by_one() if name == "one by one" else together(generators[name])
            seconds = (time.perf_counter() - start) / len(frames)
            best[name] = min(seconds, best.get(name, seconds)) if turn else float("inf")
    return best


def _drift() -> float:
    """Largest difference of a pixel, in levels of 255, of one frame at the beginning and after `LONG` others."""
    image = image_generator_config("tiny", source_channels=CHANNELS, num_down=2, width=8)
    generator = _built(SFlowConfig(image=image, edge_channel=CHANNELS - 1, dned=DNEDConfig(width=4)))
    first, *others = _maps(5, *DRIFT_SIZE)

    def frames() -> Iterator[ConditionedFrame]:
        yield first
        for some in repeat(others, LONG // len(others)):
            yield from some
        yield first

    begin = end = None
    for _, picture in Session(generator).render(frames()):
        begin, end = (picture if begin is None else begin), picture
    assert begin is not None
    assert end is not None
    return float(np.abs(begin.astype(int) - end).max())


def run() -> list[Row]:
    """(what, value, target) per row."""
    seconds = _seconds(_maps(FRAMES, WIDTH, HEIGHT))
    rows = [
        (f"{name}: frames per second / vid2vid's of the same width", seconds["vid2vid"] / seconds[name], "reported")
        for name in ("s-flow", "s-flow without edge network")
    ]
    rows.append(
        ("s-flow: frames per second in batches / one by one", seconds["one by one"] / seconds["s-flow"], ">= 1")
    )
    rows.append((f"s-flow: drift over {LONG:,} frames, levels of 255", _drift(), "0"))
    return rows


if __name__ == "__main__":
    for what, value, target in run():
        print(f"{what:70}  {value:8.3f}  {target}")
