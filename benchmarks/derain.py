"""Where a model of rain removal is wrong: under the rain or elsewhere.

    python -m benchmarks.derain WORK [--held-out WORK/held-out] [--checkpoint pix2pixhd ...] [--level 16]

A pixel is under the rain where the rainy frame differs from the clean one by more than --level of 255, as a mean over
the colours. The models are listed beside the rainy frames as they are, and beside these with one gain and offset per
colour channel, fitted on the training frames: only what a model gains beyond that is removal of rain. PSNR is the mean
over the frames; errors are root mean squares over all pixels, in levels.
"""

import argparse
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import load_model
from v2vkit.conditions.clips import ClipReader
from v2vkit.inference.conditioned import stored
from v2vkit.inference.session import Session
from v2vkit.inference.workspace import annotated_frames, shots_of
from v2vkit.pipeline.stage import load_inputs

Images = NDArray[np.uint8]


def fit_colours(source: Images, target: Images) -> NDArray[np.float64]:
    """The gain and offset of each channel with the least squared error, [3, 2]; images [T, H, W, 3]."""
    pairs = zip(source.reshape(-1, 3).T, target.reshape(-1, 3).T, strict=True)
    return np.stack([np.polyfit(x.astype(np.float64), y.astype(np.float64), 1) for x, y in pairs])


def apply_colours(source: Images, colours: NDArray[np.float64]) -> Images:
    """`source` with the gains and offsets of `fit_colours`."""
    changed = source * colours[:, 0] + colours[:, 1]
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def errors(found: Images, clean: Images, rainy: Images, level: float) -> dict[str, float]:
    """PSNR in dB, and the root mean square errors under the rain and elsewhere in levels; images [T, H, W, 3]."""
    squares = (found.astype(np.float64) - clean) ** 2
    under = np.abs(rainy.astype(np.float64) - clean).mean(-1) > level
    per_frame = squares.mean((1, 2, 3))
    return {
        "psnr": float((10 * np.log10(255**2 / np.maximum(per_frame, 1e-9))).mean()),
        "under rain": float(np.sqrt(squares[under].mean())) if under.any() else float("nan"),
        "elsewhere": float(np.sqrt(squares[~under].mean())) if not under.all() else float("nan"),
    }


def _pairs(work: Folder, conditioning: Any) -> tuple[Images, Images]:
    """The rainy and the clean frames of a workspace, [T, H, W, 3]."""
    reader = ClipReader(work, load_inputs(work, ["pictures", "frames"]))
    rainy = annotated_frames(reader, conditioning, shots_of(reader.clips))
    clean = [reader.frame(clip.name, t) for clip in reader.clips for t in range(clip.num_frames)]
    return np.stack([frame.annotations[0].image for frame in rainy]), np.stack(clean)


def _generated(work: Folder, checkpoint: Folder) -> Images:
    generator, info = load_model(checkpoint)
    session = Session(generator, downsamplings=info.downsamplings, precision="fp32")
    reader = ClipReader(work, load_inputs(work, info.conditioning.artifacts))
    shots = shots_of(reader.clips)
    return np.stack([session.step(stored(frame, info)) for frame in annotated_frames(reader, info.conditioning, shots)])


def main() -> None:
    """Prints a row for every model and for the rainy frames."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work")
    parser.add_argument("--held-out", help="default: WORK/held-out")
    parser.add_argument("--checkpoint", action="append", help="default: pix2pixhd and spatial-1")
    parser.add_argument("--level", type=float, default=16)
    given = parser.parse_args()
    torch.set_num_threads(1)
    work = Folder(given.work)
    held_out = Folder(given.held_out) if given.held_out else work / "held-out"
    models = [find_model(work, name) for name in given.checkpoint or ("pix2pixhd", "spatial-1")]
    conditioning = load_model(models[0])[1].conditioning
    colours = fit_colours(*_pairs(work, conditioning))
    rainy, clean = _pairs(held_out, conditioning)
    rows = {model.url.rsplit("/", 1)[-1]: _generated(held_out, model) for model in models}
    rows |= {"rainy, colours fitted": apply_colours(rainy, colours), "rainy": rainy}
    share = (np.abs(rainy.astype(np.float64) - clean).mean(-1) > given.level).mean()
    print(f"{len(clean)} frames; rain changes {100 * share:.1f} % of the pixels by more than {given.level:g} levels")
    print(f"{'':24} {'psnr':>8} {'under rain':>12} {'elsewhere':>12}")
    for name, images in rows.items():
        found = errors(images, clean, rainy, given.level)
        print(f"{name:24} {found['psnr']:8.2f} {found['under rain']:12.2f} {found['elsewhere']:12.2f}")


if __name__ == "__main__":
    main()
