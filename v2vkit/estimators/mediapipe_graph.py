"""A graph of MediaPipe's that looks at several images at once, through the package's own Python framework, silently.

Its ready-made solutions wait for every image. Given the next ones beforehand, a graph works on one image's landmarks
while it looks for the face of another, so that it keeps two cores busy and asks for Python's lock less often. Every
image has the result that it has alone.
"""

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from v2vkit.estimators.base import Image
from v2vkit.estimators.suppress_stderr import quiet_stderr

_STEP = 33_333  # microseconds from one image to the next, as in MediaPipe's solutions


class MediapipeGraph:
    """One of the graphs that come inside the wheel, running. One instance per process or thread.

    Args:
        graph: its file below the package.
        output: the stream of its results.
        settings: its side packets.
    """

    def __init__(self, graph: str, output: str, settings: Mapping[str, bool | int]) -> None:
        with quiet_stderr():
            import mediapipe

            package = Path(mediapipe.__file__).parent
            self._packets = mediapipe.packet_creator
            self._format = mediapipe.ImageFormat.SRGB
            self._results: dict[int, Any] = {}
            self._time = 0
            self._quiet = True
            mediapipe.resource_util.set_resource_dir(str(package.parent))  # where the graph looks for its models
            self._graph = mediapipe.CalculatorGraph(graph_config=_config(str(package / graph)))
            self._graph.observe_output_stream(output, partial(_keep, self._results))
            self._graph.start_run({name: self._packet(value) for name, value in settings.items()})
            self([np.zeros((64, 64, 3), np.uint8)])  # returns when all its threads have logged

    def _packet(self, value: bool | int) -> Any:
        return self._packets.create_bool(value) if isinstance(value, bool) else self._packets.create_int(value)

    def __call__(self, images: Sequence[Image]) -> list[Any]:
        """The output's packet for each image (RGB uint8 [H, W, 3], any sizes); None where the graph found nothing."""
        with quiet_stderr() if self._quiet else contextlib.nullcontext():
            found = self._run(images)
        self._quiet = self._quiet and not any(found)  # the last log lines come with the first result
        return found

    def _run(self, images: Sequence[Image]) -> list[Any]:
        times = []
        for image in images:
            self._time += _STEP
            times.append(self._time)
            pixels = np.ascontiguousarray(image)
            # A copy: the graph's threads would give up the array itself without holding Python's lock.
            packet = self._packets.create_image_frame(data=pixels, image_format=self._format, copy=True)
            self._graph.add_packet_to_input_stream("image", packet.at(self._time))
        self._graph.wait_until_idle()
        found = [self._results.get(time) for time in times]
        self._results.clear()
        return found


def _keep(results: dict[int, Any], stream: str, packet: Any) -> None:
    """Called in a thread of the graph's, which holds it: a method here would keep the graph itself for ever."""
    results[packet.timestamp.value] = packet


def _config(path: str) -> Any:
    """A graph's description, read as MediaPipe's solutions read it.

    On its way through Python's messages it loses options whose types Python does not know (Pose's refinement by
    heatmaps), which changes landmarks by pixels; the solutions' results are the ones that people know.
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
