"""The table of the commands that make each artifact, for messages."""

import re

MADE_BY: dict[str, tuple[str, ...]] = {
    "frames": ("ingest",),
    "labels": ("ingest --labels FOLDER", "segment"),
    "depth": ("ingest --depth FOLDER",),
    "densepose": ("ingest --densepose FOLDER",),
    "pictures": ("ingest --picture VIDEO",),
    "sketches": ("make-sketches",),
    "edges": ("make-edges",),
    "poses": ("estimate-pose",),
    "flow": ("extract-flow", "ingest --flow FOLDER"),
    "tracks": ("track",),
    "features": ("encode-features",),
    "styles": ("sample-style",),
}
"""Kind of the artifact -> the commands that can make it, with the flag that asks for it."""


def commands_text(kind: str) -> str:
    """The commands that make an artifact: "`v2v extract-flow` or `v2v ingest --flow FOLDER`"."""
    commands = MADE_BY.get(kind, ("train",) if kind.startswith("checkpoints") else (kind,))
    return " or ".join(f"`v2v {command}`" for command in commands)


def ingest_flag(kind: str) -> str | None:
    """The flag of `ingest` that makes this artifact beside the frames; None = there is none."""
    found = (re.match(r"ingest (--\S+)", command) for command in MADE_BY.get(kind, ()))
    return next((match[1] for match in found if match), None)
