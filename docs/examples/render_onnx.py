"""Renders a clip with a model from `v2v export`: onnxruntime and numpy alone.

    python render_onnx.py EXPORTED maps.npy out.rgb

maps.npy holds label ids uint8 [T, H, W] (255 = none), or whole source maps uint8 [T, C, H, W] (255 = 1).
out.rgb is raw video: ffmpeg -f rawvideo -pix_fmt rgb24 -s WIDTHxHEIGHT -r FPS -i out.rgb out.mp4
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def source_map(frame: np.ndarray, num_channels: int) -> np.ndarray:
    """float32 [1, C, H, W] in [0, 1] of one frame; label ids become one channel per label."""
    if frame.ndim == 3:
        return frame[None].astype(np.float32) / 255
    return (frame[None, None] == np.arange(num_channels, dtype=np.uint8)[None, :, None, None]).astype(np.float32)


def main(folder: Path, maps: str, target: str) -> None:
    """Render every frame of the clip; each graph returns the state that the next frame's graph takes."""
    model = json.loads((folder / "model.json").read_text())
    graphs = {
        name: onnxruntime.InferenceSession(str(folder / graph["file"])) for name, graph in model["graphs"].items()
    }
    num_channels = model["graphs"]["step"]["inputs"]["s"][1]
    state: dict[str, np.ndarray] = {}
    with Path(target).open("wb") as file:
        for frame in np.load(maps):
            name = "step" if state or "first" not in graphs else "first"
            outputs = graphs[name].run(None, {"s": source_map(frame, num_channels), **state})
            found = dict(zip(model["graphs"][name]["outputs"], outputs, strict=True))
            state = {name: found[following] for name, following in model["state"].items()}
            rgb = np.rint((np.clip(found["frame"][0], -1, 1) + 1) * 127.5).astype(np.uint8)
            file.write(rgb.transpose(1, 2, 0).tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
