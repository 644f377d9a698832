"""Generating one frame against the plain formulation (`benchmarks.plain`), on the same weights, and where time goes.

The workload, the options and the way of measuring are those of `benchmarks.train_step`.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.plain import plain_frame
from benchmarks.train_step import (
    CONTEXT,
    Row,
    Workload,
    begin,
    begin_plain,
    compare_rows,
    count,
    large_product,
    main,
    make_sequence,
    take_turns,
    wait,
    with_threads,
)
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo, load_model, save_model
from v2vkit.conditions.settings import Origin
from v2vkit.engine.precision import resolve_precision
from v2vkit.inference.rollout import Rollout
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.generator import VideoGenerator, advance

CONVOLUTION = ("conv", "xdnn", "cudnn", "gemm")
"""Parts of the names of the operators and kernels that convolve."""


def _opened(work: Workload) -> AnyGenerator:
    """The generator as rendering opens it, from its file."""
    trained = begin(work.config(), replace(work, device="cpu")).method.generator
    info = ModelInfo(
        stage="spatial-1",
        fingerprint="benchmark",
        network=trained.config,
        conditioning=work.source(),
        origins=(Origin(stage="ingest"),),
        width=work.width,
        height=work.height,
        first_frame="self",
        frames={},
    )
    with tempfile.TemporaryDirectory() as name:
        save_model(Folder(name), trained.state_dict(), info)
        return load_model(Folder(name))[0].to(work.device)


def measure_frame(work: Workload) -> list[Row]:
    """The rows about generating a frame, and where its time goes."""
    stock = begin_plain(work).method.generator.eval().requires_grad_(False)
    generator = _opened(work)
    assert isinstance(stock, VideoGenerator)
    sequence = make_sequence(work)
    maps = sequence.s[0].cpu().numpy()
    images = ((sequence.x[0, :CONTEXT].permute(0, 2, 3, 1).cpu().numpy() + 1) * 127.5).astype(np.uint8)
    rollout = Rollout(generator, given=list(images))
    for s in maps[:CONTEXT]:
        rollout.step(s)
    assert rollout.history is not None
    fast = replace(rollout, precision="auto")
    history, t = list(rollout.history), {"plain": CONTEXT, "ours": CONTEXT, "fast": CONTEXT}
    last: dict[str, Tensor] = {}

    def following(name: str) -> int:
        t[name] += 1
        return t[name] - 1

    def plain() -> None:
        frame = following("plain")
        with torch.no_grad():
            stack = [torch.from_numpy(maps[(frame - k) % len(maps)])[None].to(work.device) for k in (2, 1, 0)]
            output = plain_frame(stock, torch.cat(stack, 1), history[0])
            history[:] = advance(history, [output])
        last["plain"] = output.x_fake

    def ours() -> None:
        last["ours"] = rollout.step(maps[following("ours") % len(maps)]).x_fake

    def ours_fast() -> None:
        fast.step(maps[following("fast") % len(maps)])

    gflop = {"plain": count(plain), "ours": count(ours)}
    apart = float((last["plain"] - last["ours"]).abs().max())
    product, product_gflop = large_product(work)
    functions = {"plain": plain, "ours": ours, "fast": ours_fast, "product": product}
    seconds = take_turns(functions, work, times=3)
    rows = compare_rows("frame", gflop, seconds, product_gflop)
    rows.append(("frame, ours / plain: time", seconds["ours"] / seconds["plain"], "<= 0.9, or the profile below"))
    half = resolve_precision("auto", torch.device(work.device))
    if half != "fp32":
        rows.append((f"frame, ours in {half} / ours: time", seconds["fast"] / seconds["ours"], "reported"))
    rows.append(("frame: largest difference of a pixel in [-1, 1], in 1e-5", apart * 1e5, "<= 10"))
    return rows + _profile(ours, work)


def _profile(function: Callable[[], object], work: Workload, *, top: int = 6) -> list[Row]:
    """Share of the operators' own time: convolutions together, then the most expensive operators."""
    cuda = torch.device(work.device).type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiled:
        for _ in range(work.repeats):
            function()
        wait(work)
    name = "self_device_time_total" if cuda else "self_cpu_time_total"
    own = {event.key: float(getattr(event, name)) for event in profiled.key_averages()}
    total = sum(own.values())
    convolution = sum(value for key, value in own.items() if any(part in key.lower() for part in CONVOLUTION))
    rows: list[Row] = [("frame, ours: convolutions' share of the time", convolution / total, "the rest is below")]
    dearest = sorted(own, key=lambda key: -own[key])[:top]
    return rows + [(f"frame, ours: share of {key[:48]}", own[key] / total, "") for key in dearest]


def run(work: Workload | None = None) -> list[Row]:
    """(what, value, target) per row."""
    return with_threads(measure_frame, work or Workload())


if __name__ == "__main__":
    main(run)
