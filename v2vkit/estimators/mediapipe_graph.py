"""Runs a MediaPipe graph on several images at once, through the package's own Python framework, without log output.

MediaPipe's ready-made solutions wait for every image. With several images queued, a graph computes the landmarks of one
while it detects the face in another, which keeps two cores busy and takes Python's lock less often. The result of each
image is the same as alone.
"""

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from v2vkit.arrays import Image
from v2vkit.estimators.suppress_stderr import quiet_stderr

_STEP = 33_333  # microseconds from one image to the next, as in MediaPipe's solutions


class MediapipeGraph:
    """A running graph from the wheel. One instance per process or thread.

    Args:
        graph: its file below the package.
        outputs: the streams of its results, one or more.
        settings: its side packets.
    """

    def __init__(self, graph: str, outputs: Sequence[str], settings: Mapping[str, bool | int]) -> None:
        with quiet_stderr():
            import mediapipe

            package = Path(mediapipe.__file__).parent
            self._packets = mediapipe.packet_creator
            self._format = mediapipe.ImageFormat.SRGB
            self._results: dict[int, dict[str, Any]] = {}
            self._time = 0
            self._quiet = True
            mediapipe.resource_util.set_resource_dir(str(package.parent))  # the folder of the graph's models
            self._graph = mediapipe.CalculatorGraph(graph_config=_config(str(package / graph)))
            for output in outputs:
                self._graph.observe_output_stream(output, partial(_keep, self._results))
            self._graph.start_run({name: self._packet(value) for name, value in settings.items()})
            self([np.zeros((64, 64, 3), np.uint8)])  # returns when all its threads have logged

    def _packet(self, value: bool | int) -> Any:
        return self._packets.create_bool(value) if isinstance(value, bool) else self._packets.create_int(value)

    def __call__(self, images: Sequence[Image]) -> list[dict[str, Any]]:
        """For each image (RGB uint8 [H, W, 3], any sizes) the packets of the outputs that found something, by name."""
        with quiet_stderr() if self._quiet else contextlib.nullcontext():
            found = self._run(images)
        self._quiet = self._quiet and not any(found)  # the last log lines come with the first result
        return found

    def _run(self, images: Sequence[Image]) -> list[dict[str, Any]]:
        times = []
        for image in images:
            self._time += _STEP
            times.append(self._time)
            pixels = np.ascontiguousarray(image)
            # Copy: the graph's threads would release the array itself without holding Python's lock.
            packet = self._packets.create_image_frame(data=pixels, image_format=self._format, copy=True)
            self._graph.add_packet_to_input_stream("image", packet.at(self._time))
        self._graph.wait_until_idle()
        found = [self._results.get(time, {}) for time in times]
        self._results.clear()
        return found


def _keep(results: dict[int, dict[str, Any]], stream: str, packet: Any) -> None:
    """Called in a thread of the graph, which holds a reference: a bound method would keep the graph alive forever."""
    results.setdefault(packet.timestamp.value, {})[stream] = packet


def _config(path: str) -> Any:
    """A graph's description, read as MediaPipe's solutions read it.

    Parsing drops options whose types Python does not know (Pose's refinement by heatmaps), which changes landmarks by
    pixels; the solutions drop them too, and ours should give the same results.
    """
    from mediapipe import ValidatedGraphConfig
    from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig

    graph = ValidatedGraphConfig()
    graph.initialize(binary_graph_path=path)
    config = CalculatorGraphConfig()
    config.ParseFromString(graph.binary_config)
    return config


def proto(packet: Any) -> Any:
    """The message in a packet."""
    from mediapipe import packet_getter

    return packet_getter.get_proto(packet)


def protos(packet: Any) -> list[Any]:
    """The messages in a packet that holds several."""
    from mediapipe import packet_getter

    found: list[Any] = packet_getter.get_proto_list(packet)
    return found
