"""Running a stage in a test, and reading what it wrote."""

from pathlib import Path

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, read_manifest
from v2vkit.artifacts.shard import load_shard
from v2vkit.config import StageConfig
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions, Stage


def make(stage: Stage, config: StageConfig, work: Path, workers: int = 1) -> Manifest:
    """Run a stage and give the manifest of its artifact."""
    run(stage, config, RunOptions(work=str(work), workers=workers))
    manifest = read_manifest(Folder(f"{work}/{stage.output(config)}"))
    assert manifest is not None
    return manifest


def sample_files(folder: Path, manifest: Manifest, key: str, number: int = 0) -> dict[str, bytes]:
    """Extension -> bytes of one frame of an artifact, from its shard of that number."""
    shard = load_shard(Folder(str(folder)), manifest.shards[number])
    return {extension: shard.read(key, extension) for extension in shard.extensions(key)}
