"""`v2v report`: one HTML page about a workspace."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder, explain_os_errors
from v2vkit.config import StageConfig, extras, setting, settings_of
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.stages import COMMANDS, find_command

if TYPE_CHECKING:
    from v2vkit.artifacts.manifest import Manifest
    from v2vkit.evaluation.overview.results import Video

_ENDINGS = (".mp4", ".webm", ".mov", ".mkv")


class ReportConfig(StageConfig):
    """Make one HTML page about a workspace: recipe, data, losses, sample grids over time, metrics, videos.

    The page is one file that loads nothing from anywhere. Videos (those given, else those directly in the workspace)
    stand side by side and play in step. Losses come from TensorBoard's logs.
    """

    workspace: str | None = setting(None, "Workspace; default: that of --work.", argument=True, metavar="[WORK]")
    out: str | None = setting(None, "Page to write; default: report.html in the workspace.", metavar="FILE")
    video: tuple[str, ...] = setting(
        (), "Video to show, or NAME=VIDEO with its caption; default: those in the workspace.", metavar="[NAME=]VIDEO"
    )


def _report(config: ReportConfig, options: RunOptions) -> list[str]:
    """Write the page.

    Raises:
        V2VError: there is no workspace, something in it is damaged, or the page cannot be written.
    """
    from v2vkit.evaluation.overview.artifacts import find_artifacts, find_trainings
    from v2vkit.evaluation.overview.page import page
    from v2vkit.evaluation.overview.results import find_evaluations, parse_videos
    from v2vkit.video.targets import refuse_url

    work = Folder(config.workspace or options.work)
    given = parse_videos(config.video)
    artifacts, trainings = find_artifacts(work), find_trainings(work)
    if not artifacts and not trainings:
        raise V2VError("artifact-missing", f"There are no artifacts in {work.url}.", "Name another workspace.")
    found = given or ([] if work.remote else _videos_in(Path(work.path)))
    videos, problems = _read_videos(found)
    out = config.out or f"{work.url}/report.html"
    refuse_url(out)
    everything = [*artifacts, *(of.artifact for of in trainings)]
    text = page(
        Path(work.path).resolve().name if not work.remote else work.url,
        commands={of.kind: command_line(of.manifest) for of in everything},
        artifacts=artifacts,
        trainings=trainings,
        evaluations=find_evaluations(work),
        videos=videos,
    )
    target = Path(out).absolute()
    with explain_os_errors(out):
        Folder(str(target.parent)).write(target.name, text.encode())
    print(f"{out}: {len(everything)} artifacts, {len(videos)} videos, {len(text) / 1e6:.1f} MB.")
    return problems


def _videos_in(folder: Path) -> list[tuple[str, Path]]:
    return sorted((path.stem, path) for path in folder.iterdir() if path.suffix.lower() in _ENDINGS and path.is_file())


def _read_videos(found: list[tuple[str, Path]]) -> "tuple[list[Video], list[str]]":
    """The videos that fit on a page, and sentences on the others."""
    from v2vkit.evaluation.overview.results import MAX_BYTES, read_video

    videos: list[Video] = []
    problems, size = [], 0
    for name, path in found:
        video = read_video(name, path)
        if size + len(video.data) > MAX_BYTES:
            problems.append(f"{path}: left out, because the videos of a page may have {MAX_BYTES // 10**6} MB in all")
            continue
        size += len(video.data)
        videos.append(video)
    return videos, problems


def command_line(manifest: "Manifest") -> str:
    """The command that made an artifact, with the settings that are not defaults."""
    if manifest.stage not in COMMANDS:
        return manifest.stage
    config = find_command(manifest.stage).config
    arguments, flags = list[str](), list[str]()
    for name, field in settings_of(config).items():
        value = manifest.config.get(name)
        if isinstance(value, dict):  # a class table, stored whole
            value = value.get("name", "...")
        values = [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
        if extras(config, name).get("argument"):
            arguments += values
        elif value is not None and name in manifest.config and not _is_default(value, field.default):
            flag = name.strip("_").replace("_", "-")
            if isinstance(value, bool):
                flags.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                flags += [part for item in values for part in (f"--{flag}", item)]
    return f"v2v {shlex.join([manifest.stage, *arguments, *flags])}"


def _is_default(value: Any, default: Any) -> bool:
    return value == default or (isinstance(value, list) and isinstance(default, tuple) and tuple(value) == default)


COMMAND = Command(name="report", config=ReportConfig, call=_report)
