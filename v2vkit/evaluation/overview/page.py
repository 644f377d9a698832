"""The HTML of a workspace's overview: one file that loads nothing from anywhere."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from v2vkit import __version__
from v2vkit.evaluation.overview.artifacts import Artifact, Training
from v2vkit.evaluation.overview.curves import svg
from v2vkit.evaluation.overview.results import Evaluation, Video

_escape = html.escape


def page(
    title: str,
    *,
    commands: Mapping[str, str],
    artifacts: Sequence[Artifact],
    trainings: Sequence[Training],
    evaluations: Sequence[Evaluation],
    videos: Sequence[Video],
) -> str:
    """The page.

    Args:
        title: name of the workspace.
        commands: kind of the artifact -> the command that made it.
    """
    sections = {
        "Recipe": _recipe(commands, [*artifacts, *(of.artifact for of in trainings)]),
        "Data": "".join(map(_data, artifacts)),
        "Training": "".join(map(_training, trainings)),
        "Evaluation": "".join(map(_evaluation, evaluations)),
        "Videos": _videos(videos),
    }
    parts = {name: body for name, body in sections.items() if body}
    menu = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in parts)
    body = "".join(f'<section id="{name.lower()}"><h2>{name}</h2>{body}</section>' for name, body in parts.items())
    return _file("report.html").format(
        title=_escape(title),
        version=_escape(__version__),
        menu=menu,
        body=body,
        css=_file("report.css"),
        js=_file("report.js"),
    )


def _file(name: str) -> str:
    return (files("v2vkit.evaluation.overview") / "page" / name).read_text(encoding="utf-8")


def _recipe(commands: Mapping[str, str], artifacts: Iterable[Artifact]) -> str:
    rows = []
    for of in artifacts:
        made = ", ".join(f"{key} {value}" for key, value in of.manifest.estimator.items() if key != "weights")
        cells = [
            of.kind + ("" if of.finished else " (unfinished)"),
            commands[of.kind],
            made,
            of.manifest.fingerprint[:12],
        ]
        rows.append([f"<code>{_escape(cell)}</code>" if i == 1 else _escape(cell) for i, cell in enumerate(cells)])
    return _table(["artifact", "command", "estimator", "fingerprint"], rows) if rows else ""


def _data(of: Artifact) -> str:
    manifest = of.manifest
    clips = manifest.clips
    sizes = ", ".join(sorted({f"{clip.width}x{clip.height}" for clip in clips}))
    rates = ", ".join(sorted({clip.fps for clip in clips}))
    facts = (
        [f"{len(clips):,} clips", f"{manifest.num_frames:,} frames", sizes, f"{rates} frames per second"]
        if clips
        else []
    )
    facts += [f"{name}: {number:,}" for name, number in {**manifest.counts, **manifest.missing}.items()]
    skipped = [f"left out: {name}: {why}" for name, why in manifest.skipped.items()]
    pictures = "".join(_figure(data, "image/jpeg", caption) for caption, data in of.samples)
    note = f"<p class=note>{_escape(of.note)}</p>" if of.note and pictures else ""
    told = "".join(f"<p class=problem>{_escape(text)}</p>" for text in skipped)
    return (
        f"<h3>{_escape(of.kind)}</h3><p>{_escape(' · '.join(facts))}</p>{told}<div class=strip>{pictures}</div>{note}"
    )


def _training(of: Training) -> str:
    name = _escape(of.artifact.kind)
    plots = "".join(
        f"<figure>{svg(curve)}<figcaption>{_escape(curve.name)}: {curve.last:.4g}</figcaption></figure>"
        for curve in of.curves
        if curve.values
    )
    note = "" if of.note is None else f"<p class=note>{_escape(of.note)}</p>"
    return f"<h3>{name}</h3>{note}<div class=plots>{plots}</div>{_grids(of)}"


def _grids(of: Training) -> str:
    if not of.grids:
        return ""
    last = len(of.grids) - 1
    pictures = "".join(
        f'<img src="{_uri(data, "image/jpeg")}" data-step="{step}" alt="sample grid after {step} steps"'
        f"{'' if i == last else ' hidden'}>"
        for i, (step, data) in enumerate(of.grids)
    )
    steps = of.grids[-1][0]
    return (
        f"<div class=grids><label>Sample grid after <output>{steps:,}</output> steps "
        f"<input type=range min=0 max={last} value={last}></label>{pictures}</div>"
    )


def _evaluation(of: Evaluation) -> str:
    summary = {method: entry for method, entry in of.document["summary"].items() if isinstance(entry, dict)}
    columns = list(dict.fromkeys(name for entry in summary.values() for name in entry))
    shown = [name for name in columns if any(_number(entry.get(name)) != "" for entry in summary.values())]
    rows = [[_escape(method), *(_number(entry.get(name)) for name in shown)] for method, entry in summary.items()]
    noted = of.document.get("notes", [])
    notes = "".join(f"<p class=note>{_escape(str(text))}</p>" for text in noted if isinstance(noted, list))
    pictures = "".join(_figure(data, "image/png", name) for name, data in of.pictures.items())
    return (
        f"<h3>{_escape(of.name)}</h3>{_table(['', *map(_escape, shown)], rows)}{notes}<div class=wide>{pictures}</div>"
    )


def _number(value: Any) -> str:
    """A metric's mean, or a count; empty for anything else."""
    if isinstance(value, dict):
        value = value.get("mean")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _videos(videos: Sequence[Video]) -> str:
    if not videos:
        return ""
    players = "".join(
        f'<figure><video muted playsinline preload=auto src="{_uri(of.data, of.media_type)}"></video>'
        f"<figcaption>{_escape(of.name)}</figcaption></figure>"
        for of in videos
    )
    return (
        '<div id=controls><button id=play type=button>Play</button><button id=back type=button title="one frame back">'
        '‹</button><button id=forth type=button title="one frame forth">›</button>'
        "<input id=seek type=range min=0 max=1 step=any value=0 aria-label=time><output id=time>0.00 s</output>"
        "<label>Speed <select id=speed><option>0.25<option>0.5<option selected>1<option>2</select></label></div>"
        f"<div class=videos>{players}</div>"
    )


def _figure(data: bytes, media_type: str, caption: str) -> str:
    text = _escape(caption)
    return f'<figure><img src="{_uri(data, media_type)}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
