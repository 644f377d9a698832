"""A training step against the plain formulation (`benchmarks.plain`), on the same weights.

Arithmetic is counted with torch's counter. Times are medians of repetitions that take turns, so that a busy machine
slows all of them; they are also set against the time that large fp32 matrix products take for the same arithmetic.
`python -m benchmarks.train_step --help` lists the sizes and options. Those for bf16, channels-last and compile are for
our step alone: the plain one stays as it is.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain import Training, plain_chunk, use_stock_parts
from v2vkit.conditions.conditioning import Conditioning, conditioning_of, to_unit
from v2vkit.conditions.labels import LabelMap
from v2vkit.config import Precision
from v2vkit.models.generator import HISTORY
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.methods.base import StepContext
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.methods.vid2vid import build_vid2vid
from v2vkit.training.parallel import ALONE
from v2vkit.training.trainer import new_state, take_step
from v2vkit.training.window import begin_window

Row = tuple[str, float, str]
CONTEXT = HISTORY
"""Frames that the generator sees behind the current one."""


@dataclass(frozen=True)
class Workload:
    """Sizes; the defaults are the workload that results are reported for. The last three change only our step."""

    width: int = 256
    height: int = 128
    labels: int = 12
    frames: int = 3
    generator_width: int = 32
    blocks: int = 9
    discriminator_width: int = 64
    temporal_scales: int = 1
    repeats: int = 7
    matrix: int = 2048
    threads: int = 0
    device: str = "cpu"
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False

    def config(self) -> TrainConfig:
        """The training that both formulations do, in float32."""
        return TrainConfig(
            preset="tiny",
            domain="street",
            num_labels=self.labels,
            foreground=(1, 2),
            width=self.generator_width,
            num_blocks=self.blocks,
            discriminator_width=self.discriminator_width,
            temporal_scales=self.temporal_scales,
            chunk=self.frames,
            device=self.device,
            precision="fp32",
        )

    def fast_config(self) -> TrainConfig:
        """The same with what was asked for to make it faster."""
        changes = {"precision": self.precision, "channels_last": self.channels_last or None, "compile": self.compile}
        return TrainConfig.model_validate(self.config().model_dump() | changes)

    def source(self) -> Conditioning:
        return conditioning_of("street", num_labels=self.labels)


def make_sequence(work: Workload) -> VideoBatch:
    """A seeded window of L + `frames` frames: patches of labels and their edges, clouds as images, even flow."""
    rng, length, size = np.random.default_rng(0), CONTEXT + work.frames, (work.height, work.width)
    patches = rng.integers(0, work.labels, (length, -(-work.height // 8), -(-work.width // 8)), dtype=np.uint8)
    labels = patches.repeat(8, 1).repeat(8, 2)[:, : work.height, : work.width]
    s = np.stack([to_unit(work.source().channels([LabelMap(ids)])) for ids in labels])

    def uniform(*shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(0, 1, shape).astype(np.float32))

    x = F.interpolate(uniform(length, 3, 9, 17) * 2 - 1, size, mode="bilinear", align_corners=True)
    flow = ((uniform(1, length, 2, 1, 1) - 0.5) * 8).expand(1, length, 2, *size).contiguous().to(work.device)
    confidence = (uniform(1, length, 1, *size) < 0.8).float().to(work.device)
    strides = method_spec("vid2vid").strides(work.config())
    return VideoBatch(
        x[None].to(work.device),
        torch.from_numpy(s)[None].to(work.device),
        dict.fromkeys(strides, flow),
        dict.fromkeys(strides, confidence),
    )


def begin(config: TrainConfig, work: Workload) -> Training:
    """vid2vid with freshly initialised networks, and the state of its training."""
    device = torch.device(work.device)
    method = build_vid2vid(config, work.source(), device, ALONE)
    return Training(method, new_state(config, method, device))


def begin_plain(work: Workload) -> Training:
    """The training of `config` made of torch's own layers, warp and Adam."""
    return use_stock_parts(begin(work.config().model_copy(update={"channels_last": False}), work))


def plain_step(training: Training, sequence: VideoBatch) -> dict[str, float]:
    """One step as the specification describes it; the unweighted loss terms."""
    window = begin_window(sequence, training.method.generator, from_nothing=False)
    frames = list(range(CONTEXT, CONTEXT + training.method.config.schedule.chunk))
    return plain_chunk(training, sequence, window, frames)


def our_step(training: Training, sequence: VideoBatch) -> dict[str, float]:
    """One step as v2vkit takes it."""
    (chunk,) = training.method.chunks(sequence)
    at = StepContext(0, 0.0, sequence.x.shape[1], training.state.scaler.scale)
    return take_step(training.method, training.state, chunk, at)


def count(function: Callable[[], object]) -> float:
    """GFLOP of a call, a multiplication and an addition as two."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 1e9


def take_turns(functions: dict[str, Callable[[], object]], work: Workload, *, times: int = 1) -> dict[str, float]:
    """Median seconds of each function; each of `times` x `repeats` repetitions calls all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(times * work.repeats + 1):
        for name, function in functions.items():
            wait(work)
            start = time.perf_counter()
            function()
            wait(work)
            if repeat:  # the first call allocates and chooses algorithms
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def wait(work: Workload) -> None:
    """Until the device has done everything that it was asked for."""
    if torch.device(work.device).type == "cuda":
        torch.cuda.synchronize()


def large_product(work: Workload) -> tuple[Callable[[], object], float]:
    """A large fp32 matrix product, and its GFLOP."""
    a, b = torch.rand(2, work.matrix, work.matrix, device=work.device)
    return lambda: a @ b, 2 * work.matrix**3 / 1e9


def compare_rows(what: str, gflop: dict[str, float], seconds: dict[str, float], product_gflop: float) -> list[Row]:
    """Arithmetic and time of both formulations, and how far each is from what the machine can do."""
    rows: list[Row] = []
    for name, amount in gflop.items():
        limit = seconds["product"] / product_gflop * amount
        rows.append((f"{what}, {name}: GFLOP", amount, ""))
        rows.append((f"{what}, {name}: milliseconds", seconds[name] * 1e3, ""))
        rows.append((f"{what}, {name}: time / the same arithmetic in matrix products", seconds[name] / limit, ""))
    return rows


def measure_step(work: Workload) -> list[Row]:
    """The rows about training."""
    sequence, config = make_sequence(work), work.config()
    plain, same, ours = begin_plain(work), begin(config, work), begin(config, work)
    terms: dict[str, dict[str, float]] = {}
    gflop = {
        "plain": count(lambda: terms.update(stock=plain_step(plain, sequence))),
        "ours": count(lambda: terms.update(ours=our_step(ours, sequence))),
    }
    terms["plain"] = plain_step(same, sequence)
    apart = {name: _apart(terms["ours"], terms[name]) for name in ("plain", "stock")}
    fast = work.fast_config()
    if fast != config:
        ours = begin(fast, work)
    product, product_gflop = large_product(work)
    seconds = take_turns(
        {
            "plain": lambda: plain_step(plain, sequence),
            "ours": lambda: our_step(ours, sequence),
            "product": product,
        },
        work,
    )
    rows = compare_rows("train step", gflop, seconds, product_gflop)
    target = "<= 0.35" if work.device != "cpu" and work.precision == "bf16" else "<= 0.88"
    rows.append(("train step, ours / plain: arithmetic", gflop["ours"] / gflop["plain"], "<= 0.83"))
    rows.append(("train step, ours / plain: time", seconds["ours"] / seconds["plain"], target))
    what = "train step: largest relative difference of a loss term, in 1e-5"
    rows.append((f"{what}, the same layers", apart["plain"] * 1e5, "<= 1"))
    rows.append((f"{what}, torch's layers", apart["stock"] * 1e5, "norms of discriminators see all frames"))
    return rows


def _apart(a: dict[str, float], b: dict[str, float]) -> float:
    """Largest relative difference of a loss term."""
    assert a.keys() == b.keys()
    return max(abs(a[name] / b[name] - 1) for name in b)


def run(work: Workload | None = None) -> list[Row]:
    """(what, value, target) per row."""
    return with_threads(measure_step, work or Workload())


def with_threads(measure: Callable[[Workload], list[Row]], work: Workload) -> list[Row]:
    """What `measure` finds with as many CPU threads as the workload asks for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(work.threads or threads)
    try:
        return measure(work)
    finally:
        torch.set_num_threads(threads)


def main(run: Callable[[Workload], list[Row]], arguments: list[str] | None = None) -> None:
    """Print the rows of the workload that the command line describes."""
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(Workload):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    for what, value, target in run(Workload(**vars(parser.parse_args(arguments)))):
        print(f"{what:84} {value:9.3f}  {target}")


if __name__ == "__main__":
    main(run)
