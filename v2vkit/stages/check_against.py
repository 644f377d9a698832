"""`v2v check --against WORKSPACE`: how the labels of two workspaces differ."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest
from v2vkit.classes.remap import final_table
from v2vkit.conditions.label_compare import comparison_lines, comparison_problems, statistics
from v2vkit.errors import counted
from v2vkit.pipeline.stage import load_input
from v2vkit.progress import tracked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FRAMES = 200  # of each workspace, spread evenly; more change the means little


def compare_labels(work: Folder, other: Folder) -> list[str]:
    """Print the statistics of both workspaces' labels side by side, and give the differences that matter.

    Raises:
        V2VError: one of them has no finished labels, or a shard is missing or damaged.
    """
    here, there = load_input(work, "labels"), load_input(other, "labels")
    tables = final_table(here.config), final_table(there.config)
    first, second = (
        statistics(_some_maps(folder / "labels", manifest)) for folder, manifest in ((work, here), (other, there))
    )
    print(
        f"labels of {work.url} ({counted(first.frames, 'frame')}) against {other.url} "
        f"({counted(second.frames, 'frame')}):"
    )
    for line in comparison_lines(first, second, tables[0] or tables[1]):
        print(line)
    return comparison_problems(first, second, tables, other.url)


def _some_maps(folder: Folder, manifest: Manifest) -> "Iterator[NDArray[np.uint8]]":
    """The label maps of frames spread evenly over all clips; each shard is read once."""
    import numpy as np

    from v2vkit.artifacts.images import decode_gray
    from v2vkit.artifacts.shard import load_shard, sample_key

    every = max(1, manifest.num_frames // _FRAMES)
    number = 0
    shards = tracked(manifest.shards, total=len(manifest.shards), desc=f"labels of {folder.url}", unit="shard")
    for entry, unit in zip(shards, manifest.units, strict=True):
        shard = load_shard(folder, entry)
        for clip in unit:
            for t in range(clip.num_frames):
                key = sample_key(clip.name, t)
                if number % every == 0 and shard.has(key, "label.png"):
                    yield decode_gray(shard.read(key, "label.png"), key).astype(np.uint8)
                number += 1
