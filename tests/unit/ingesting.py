"""Ingesting in a test, what came of it, and footage for it."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from v2vkit.config import make_config
from v2vkit.pipeline.runner import Outcome, run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.ingest import STAGE, IngestConfig


def ingest(work: Path, *sources: Path | str, **settings) -> Outcome:
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    config = make_config(IngestConfig, {"sources": tuple(map(str, sources)), **plain}, "test")
    return run(STAGE, config, RunOptions(work=str(work), workers=1))


def manifest(work: Path, kind: str = "frames") -> dict:
    return json.loads((work / kind / "manifest.json").read_text())


def clips(work: Path) -> dict[str, dict]:
    return {clip["name"]: clip for unit in manifest(work)["units"] for clip in unit}


def contents(work: Path, kind: str = "frames") -> dict[str, np.ndarray]:
    """Every image of an artifact by its name, read with tarfile and Pillow."""
    images = {}
    for shard in sorted((work / kind).glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                images[member.name] = np.array(Image.open(io.BytesIO(tar.extractfile(member).read())))
    return images


def shots(*names: str, length: int = 20, size: tuple[int, int] = (96, 64)) -> list[np.ndarray]:
    photos = {"astronaut": data.astronaut, "cat": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}
    width, height = size
    return [photos[name]()[30 : 30 + height, 2 * i : 2 * i + width] for name in names for i in range(length)]


def write_images(folder: Path, images, *, pattern: str = "frame{}.png") -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / pattern.format(i))
    return folder


def label_maps(count: int, width: int = 64, height: int = 48, num_labels: int = 5) -> list[np.ndarray]:
    rows, columns = np.mgrid[:height, :width]
    return [((rows // 8 + columns // 8 + i) % num_labels).astype(np.uint8) for i in range(count)]
