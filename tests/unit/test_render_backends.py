"""Back ends of rendering give torch's frames; `auto` measures; other sizes and tiles."""

import importlib.util
import itertools
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.errors import raises
from tests.hooks import before_forward
from tests.unit.rendering import render, save_untrained
from v2vkit import load
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image, encode_png
from v2vkit.checkpoint.model_file import ModelInfo, load_model
from v2vkit.checkpoint.size import resized
from v2vkit.config import Size
from v2vkit.engine.precision import autocast, resolve_precision
from v2vkit.inference.backend_names import ON_CPU, Backend
from v2vkit.inference.backends import Factory, choose_backend, keep_outputs, measure_backends, refuse_backend
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.graphs import example_inputs
from v2vkit.inference.rollout import Rollout
from v2vkit.inference.session import Session
from v2vkit.inference.tiles import spans, tiled
from v2vkit.models.any_generator import AnyGenerator, build_generator
from v2vkit.models.generator import Output, VideoGenerator
from v2vkit.models.presets import generator_config
from v2vkit.models.unet import UNetConfig
from v2vkit.models.warp import warp


def _model(work: Path, **changes: object) -> tuple[AnyGenerator, ModelInfo]:
    save_untrained(work, "street", maps={"num_labels": 3, "edges": False}, **changes)
    return load_model(Folder(f"{work}/checkpoints/spatial-1"))


def _source_map(info: ModelInfo, t: int) -> np.ndarray:
    labels = np.add.outer(np.arange(info.height), np.arange(info.width) + 5 * t) // 16 % 3
    return (labels == np.arange(3)[:, None, None]).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ON_CPU, "compile"])
def test_back_ends_give_torchs_frames(tmp_path: Path, name: Backend) -> None:
    if name != "compile":
        pytest.importorskip(name)
    elif shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    generator, info = _model(tmp_path, size=(34, 24))
    # Norms of its constant history depend on the order of summation, so those features are stored in the graph.
    assert isinstance(generator, VideoGenerator)
    assert generator.config.zero_history
    forward = choose_backend(name, generator, info, "fp32").forward
    assert forward is not None
    rollout, other = Rollout(generator), Rollout(generator, forward=forward)
    for t in range(3):
        s = _source_map(info, t)
        wanted, found = rollout.step(s), other.step(s)
        for field, limit in (("h", 1e-5), ("mask", 1e-5), ("x_fake", 2e-4), ("flow", 2e-4)):
            a, b = getattr(found, field), getattr(wanted, field)
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=0, atol=limit)
        other.history = [part.clone() for part in rollout.history or []]  # so that each frame is compared alone


@pytest.mark.slow
def test_openvino_in_bf16_is_as_near_as_torch_in_bf16_and_warps_exactly(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    if resolve_precision("auto", torch.device("cpu")) != "bf16":
        pytest.skip("this CPU does not multiply bfloat16")
    generator, info = _model(tmp_path, size=(34, 24))
    with torch.no_grad():
        for name, weights in generator.named_parameters():
            if "flow" in name:
                weights.mul_(3)  # pixels far enough that bfloat16 could not address them
    forward = choose_backend("openvino", generator, info, "bf16").forward
    assert forward is not None
    stack, history = example_inputs(generator, info)
    assert history is not None
    (exact,) = generator(stack, history, first_frame=False)
    with autocast("bf16", stack.device):
        (torchs,) = generator(stack, history, first_frame=False)
    (found,) = forward(stack, history, first_frame=False)
    apart, allowed = ((of.h - exact.h).abs().mean() for of in (found, torchs))
    assert 1e-5 < apart < 1.5 * allowed
    assert found.flow.abs().max() > 2
    blended = found.mask * found.h + (1 - found.mask) * warp(history[-1][:, -3:], found.flow)
    torch.testing.assert_close(found.x_fake, blended, rtol=0, atol=1e-5)


_DROPPED_IN_A_THREAD = """
import ctypes, gc, sys, threading
import onnx
from onnx import TensorProto, helper
from v2vkit.inference.graphs import openvino_run

class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

def signal_stack():
    stack = Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.start

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
opset = [helper.make_opsetid("", 18)]
model = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
opened = [openvino_run(model, bf16=False) for _ in range(2)]
opened.pop(0)
thread = threading.Thread(target=lambda: (opened.clear(), gc.collect()))
thread.start()
thread.join()
start = signal_stack()
spans = [line.split()[0].split("-") for line in open("/proc/self/maps")]
sys.exit(start is not None and not any(int(a, 16) <= start < int(b, 16) for a, b in spans))
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped memory")
def test_signals_have_a_stack_after_a_graph_of_openvino_is_dropped_in_another_thread() -> None:
    """OpenVINO unmaps the stack that it has given them, and the next signal writes over other memory: a crash."""
    for package in ("onnx", "openvino"):
        pytest.importorskip(package)
    done = subprocess.run([sys.executable, "-c", _DROPPED_IN_A_THREAD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_openvino_refuses_bf16_for_several_scales(tmp_path: Path) -> None:
    """The coarser scale's warp would be computed in bfloat16, too."""
    pytest.importorskip("openvino")
    _, info = _model(tmp_path)
    generator = build_generator(generator_config("tiny", source_channels=3, width=8, num_down=2, num_scales=2))
    with raises("setting-conflict", "several scales"):
        choose_backend("openvino", generator, info, "bf16")


def _need_all() -> None:
    for name in ("onnx", "onnxscript", *ON_CPU):
        pytest.importorskip(name)


def _no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_auto_takes_the_fastest_and_says_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _need_all()
    generator, info = _model(tmp_path)
    spent: dict[Backend, float] = {"torch": 3.0, "onnxruntime": 2.0, "openvino": 1.0}
    factories = {name: lambda generator, *rest: generator for name in spent}
    chosen = choose_backend("auto", generator, info, factories=factories, measure=lambda *_: spent)
    assert (chosen.name, chosen.forward) == ("openvino", generator)
    assert all(str(value) in str(chosen) for value in spent.values())
    _no_packages(monkeypatch)
    chosen = choose_backend("auto", generator, info, factories=factories)
    assert (chosen.name, chosen.forward, set(chosen.milliseconds)) == ("torch", None, {"torch"})


def test_auto_leaves_out_what_fails_to_open(tmp_path: Path) -> None:
    _need_all()
    generator, info = _model(tmp_path)

    def fails(*given: object) -> None:
        raise RuntimeError("no such operator")

    factories: dict[Backend, Factory] = dict.fromkeys(ON_CPU, fails)
    chosen = choose_backend("auto", generator, info, factories=factories)
    assert (chosen.name, chosen.forward) == ("torch", None)
    assert "openvino fails here (no such operator)" in str(chosen)
    with raises("backend-unusable", "openvino", "no such operator"):
        choose_backend("openvino", generator, info, factories=factories)


def test_measuring_runs_every_back_end(tmp_path: Path) -> None:
    generator, info = _model(tmp_path, size=(16, 16))
    calls: list[bool] = []

    def forward(source: torch.Tensor, history: list[torch.Tensor] | None, *, first_frame: bool) -> list[Output]:
        calls.append(first_frame)
        return generator(source, history, first_frame=first_frame)  # type: ignore[no-any-return]

    spent = measure_backends({"torch": None, "compile": forward}, generator, info, "fp32")
    assert set(spent) == {"torch", "compile"}
    assert calls
    assert not any(calls)


def test_kept_outputs_do_not_change_with_the_next_frame(tmp_path: Path) -> None:
    generator, info = _model(tmp_path, size=(32, 32))
    stack, history = example_inputs(generator, info)
    memory = generator(stack, history, first_frame=False)

    def same_memory(source: torch.Tensor, history: list[torch.Tensor] | None, *, first_frame: bool) -> list[Output]:
        """The generator with one memory for the frames of every call, as CUDA graphs have."""
        memory[-1].x_fake.copy_(generator(source, history, first_frame=first_frame)[-1].x_fake)
        return memory

    forward = keep_outputs(same_memory)
    with torch.inference_mode():
        first = forward(stack, history, first_frame=False)[-1]
        wanted = generator(stack, history, first_frame=False)[-1].x_fake
        second = forward(1 - stack, history, first_frame=False)[-1]
    assert torch.equal(first.x_fake, wanted)
    assert not torch.equal(second.x_fake, wanted)


@pytest.mark.slow
def test_a_loaded_model_renders_with_a_back_end(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    _, info = _model(tmp_path)
    labels = np.random.default_rng(0).integers(0, 3, (3, info.height, info.width)).astype(np.uint8)
    model = load(tmp_path, device="cpu", backend="onnxruntime")
    generated = itertools.count()
    with before_forward(VideoGenerator, lambda: next(generated)):
        frames = list(model.generate(labels))
    assert next(generated) == 0, "torch computes nothing"
    plain = load(tmp_path, device="cpu", precision="fp32").generate(labels)
    for frame, other in zip(frames, plain, strict=True):
        np.testing.assert_allclose(frame, other, rtol=0, atol=1)


def test_a_back_end_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    _model(tmp_path)
    with raises("backend-unknown", "tensorrt"):
        load(tmp_path, device="cpu", backend="tensorrt")  # type: ignore[arg-type]


def test_independent_frames_go_through_the_back_end_one_by_one() -> None:
    """Without one, several are generated in a batch, for which no graph is traced."""
    config = UNetConfig(in_channels=3, width=8, num_down=2)
    generator = build_generator(config).eval()
    sizes: list[int] = []

    def forward(source: torch.Tensor, history: list[torch.Tensor] | None, *, first_frame: bool) -> list[Output]:
        sizes.append(source.shape[0])
        return generator(source, history, first_frame=first_frame)  # type: ignore[no-any-return]

    frames = [ConditionedFrame(np.zeros((3, 16, 16), np.float32))] * 5
    assert len(list(Session(generator, forward=forward).render(frames))) == 5
    assert sizes == [1] * 5


def test_back_ends_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with raises("setting-conflict", "cuda"):
        refuse_backend("onnxruntime", "cuda", "auto")
    with raises("setting-conflict", "bf16"):
        refuse_backend("onnxruntime", "cpu", "bf16")
    with raises("setting-conflict", "fp16"):
        refuse_backend("openvino", "cpu", "fp16")
    _no_packages(monkeypatch)
    with raises("library-missing", "openvino", "v2vkit[export,openvino]"):
        refuse_backend("openvino", "cpu", "auto")


def _folder(path: Path, *, size: tuple[int, int], count: int = 3) -> Path:
    path.mkdir()
    for number in range(count):
        labels = np.add.outer(np.arange(size[1]), np.arange(size[0]) + 5 * number) // 16 % 3
        (path / f"{number:06}.png").write_bytes(encode_png(labels.astype(np.uint8)))
    return path


def test_frames_of_another_size_are_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _model(tmp_path)
    maps = _folder(tmp_path / "maps", size=(96, 72))
    render(maps, f"{tmp_path}/out/", tmp_path, size=Size(96, 72))
    assert decode_image((tmp_path / "out/000002.png").read_bytes()).shape == (72, 96, 3)
    with raises("setting-conflict", "--size"):
        render(tmp_path, f"{tmp_path}/other/", tmp_path, size=Size(96, 72), maps=True)
    with raises("size-too-large"):
        resized(_model(tmp_path / "b")[1], Size(16384, 16384))


def test_tiles_cover_a_frame_and_overlap() -> None:
    for length, tile, unit in ((100, 32, 1), (100, 32, 4), (33, 32, 1), (20, 32, 2), (101, 40, 4), (64, 32, 2)):
        found = spans(length, tile, unit)
        assert found[0][0] == 0
        assert found[-1][1] == length
        assert all(start % unit == 0 for start, _ in found)
        assert all(b[0] < a[1] for a, b in pairwise(found)), "neighbours overlap"


@pytest.mark.parametrize("num_scales", [1, 2])
def test_tiles_of_a_local_function_give_the_whole_frame(num_scales: int) -> None:
    """Where pixels depend on nothing but their own place, tiles and their blending change nothing."""
    config = generator_config("tiny", source_channels=3, width=8, num_down=2, num_blocks=1, num_scales=num_scales)
    sizes: list[tuple[int, int]] = []

    def local(source: torch.Tensor, history: list[torch.Tensor] | None, *, first_frame: bool) -> list[Output]:
        assert history is not None
        sizes.append((source.shape[2], source.shape[3]))
        return [Output(of[:, :3] * 2, h=of[:, 3:] + 1, flow=None, mask=None, warped=None) for of in history]

    torch.manual_seed(0)
    height, width = 77, 90
    history = [
        torch.rand(1, 6, -(-height // (1 << level)), -(-width // (1 << level))) for level in reversed(range(num_scales))
    ]
    outputs = tiled(local, 32, config)(torch.rand(1, 9, height, width), history, first_frame=False)
    assert len(sizes) > 4
    assert max(max(size) for size in sizes) < 40
    for output, of in zip(outputs, history, strict=True):
        torch.testing.assert_close(output.x_fake, of[:, :3] * 2)
        torch.testing.assert_close(output.h, of[:, 3:] + 1)


def test_a_video_is_rendered_in_tiles(tmp_path: Path) -> None:
    _model(tmp_path)
    maps = _folder(tmp_path / "maps", size=(64, 48))
    render(maps, f"{tmp_path}/whole/", tmp_path)
    render(maps, f"{tmp_path}/same/", tmp_path, tile=64)
    render(maps, f"{tmp_path}/tiles/", tmp_path, tile=40)
    for number in range(3):
        name = f"{number:06}.png"
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "same" / name).read_bytes() == whole, "one tile is the frame"
        assert (tmp_path / "tiles" / name).read_bytes() != whole
    with raises("setting-conflict", "--tile"):
        render(maps, f"{tmp_path}/other/", tmp_path, tile=40, backend="onnxruntime")
