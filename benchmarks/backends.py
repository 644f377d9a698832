"""Back ends of rendering: milliseconds of a frame and ratios to torch, all measured in turns in one run.

Rows are the workloads of live rendering (128x128 tiny, a face) and of `benchmarks.train_step` (256x128, a street).
"""

import statistics
import time
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.conditioning import conditioning_of
from v2vkit.conditions.settings import Origin
from v2vkit.config import Precision
from v2vkit.engine.precision import autocast, resolve_precision
from v2vkit.inference.backend_names import CPU_PRECISIONS, ON_CPU, Backend
from v2vkit.inference.backends import choose_backend, missing_packages
from v2vkit.inference.graphs import example_inputs
from v2vkit.models.generator import GeneratorConfig, VideoGenerator
from v2vkit.models.presets import generator_config

Row = tuple[str, float, str]
REPEATS = 9


@dataclass(frozen=True)
class Case:
    """A network and the size of its frames."""

    name: str
    config: GeneratorConfig
    width: int
    height: int


def cases() -> tuple[Case, ...]:
    """The workloads."""
    street = generator_config("tiny", source_channels=13, width=32, num_blocks=9, foreground=(1, 2))
    face = generator_config("tiny", source_channels=15)
    return Case("face 128x128 tiny", face, 128, 128), Case("street 256x128", street, 256, 128)


def _info(case: Case) -> ModelInfo:
    return ModelInfo(
        stage="spatial-1",
        fingerprint="benchmark",
        network=case.config,
        conditioning=conditioning_of("face"),
        origins=(Origin(stage="make-sketches", settings={"face": "mediapipe"}),),
        width=case.width,
        height=case.height,
        frames={},
    )


def measure_case(case: Case, *, repeats: int = REPEATS) -> list[Row]:
    """Processor time of a frame by back end, its ratio to torch's, and the largest difference of a pixel."""
    torch.manual_seed(0)
    generator = VideoGenerator(case.config).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    info = _info(case)
    ways: list[tuple[Backend, Precision]] = [("torch", "fp32")]
    ways += [(name, "fp32") for name in ON_CPU if not missing_packages(name)]
    if resolve_precision("auto", torch.device("cpu")) == "bf16":
        ways += [(name, "bf16") for name, _ in ways if name == "torch" or "bf16" in CPU_PRECISIONS[name]]
    forwards = {(n, p): choose_backend(n, generator, info, p).forward or generator for n, p in ways}
    stack, _ = example_inputs(generator, info)
    # Frames without noise: a difference in flow matters by the gradient of the frame that is warped.
    smooth = torch.rand(1, 6, case.height // 8, case.width // 8) * 2 - 1
    history = [F.interpolate(smooth, (case.height, case.width), mode="bilinear", align_corners=True)]
    wall: dict[tuple[Backend, Precision], list[float]] = {way: [] for way in ways}
    processor: dict[tuple[Backend, Precision], list[float]] = {way: [] for way in ways}
    frames = {}
    for repeat in range(repeats + 1):
        for (name, precision), forward in forwards.items():
            start, used = time.perf_counter(), time.process_time()
            with torch.inference_mode(), autocast(precision, stack.device):
                frames[name, precision] = forward(stack, history, first_frame=False)[-1].x_fake.float()
            if repeat:
                processor[name, precision].append(time.process_time() - used)
                wall[name, precision].append(time.perf_counter() - start)
    rows: list[Row] = []
    reference: tuple[Backend, Precision] = ("torch", "fp32")
    for way in ways:
        middle = statistics.median(processor[way])
        what = f"{case.name}, {way[0]} {way[1]}"
        rows.append((f"{what}: ms of processor time, median", 1e3 * middle, ""))
        rows.append((f"{what}: ms, fastest", 1e3 * min(wall[way]), ""))
        rows.append(
            (f"{what} / torch fp32: processor time", middle / statistics.median(processor[reference]), "reported")
        )
        apart = float((frames[way] - frames[reference]).abs().max())
        limit = "<= 20" if way[1] == "fp32" else "reported (untrained network)"
        rows.append((f"{what}: largest difference of a pixel in [-1, 1], in 1e-5", 1e5 * apart, limit))
    return rows


def run() -> list[Row]:
    """(what, value, target) per row."""
    return [row for case in cases() for row in measure_case(case)]


if __name__ == "__main__":
    for what, value, target in run():
        print(f"{what:84} {value:9.3f}  {target}")
