"""Writes tests/golden/toyworld.json, what the toy street looks like now: `python -m tests.golden.regenerate_toyworld`.

Run it only when the street was changed on purpose; look at the pictures first (`v2v make-toy`).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from v2vkit.toyworld import ToyFrame, make_scene, render_frame

GOLDEN = Path(__file__).with_name("toyworld.json")
CASES = ((0, (128, 64), 0), (0, (128, 64), 17), (1, (128, 64), 40), (7, (96, 96), 5), (1234, (160, 120), 30))


def describe(frame: ToyFrame) -> dict[str, Any]:
    """Checksums of the exact maps, and coarse values of what may differ in the last digit between machines."""
    height, width = frame.labels.shape
    blocks = [frame.real[i * height // 2 : (i + 1) * height // 2, j * width // 4 : (j + 1) * width // 4]
              for i in range(2) for j in range(4)]  # fmt: skip
    return {
        "labels": hashlib.sha256(frame.labels.tobytes()).hexdigest(),
        "instances": hashlib.sha256(frame.instances.tobytes()).hexdigest(),
        "visible": int(frame.visible.sum()),
        "flow": [round(float(value), 4) for value in np.abs(frame.flow).mean((0, 1))],
        "real": [[round(float(value), 2) for value in block.mean((0, 1))] for block in blocks],
        "plain": [round(float(value), 2) for value in frame.plain.mean((0, 1))],
    }


def case_name(seed: int, size: tuple[int, int], t: int) -> str:
    """Key of one case in the golden file."""
    return f"seed {seed}, {size[0]}x{size[1]}, frame {t}"


def main() -> None:
    found = {case_name(seed, size, t): describe(render_frame(make_scene(seed, 48, size), t)) for seed, size, t in CASES}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
