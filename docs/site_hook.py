"""MkDocs hook of `make site`: adds the Markdown files outside docs/, rewrites links and makes the navigation."""

import posixpath
import re
from pathlib import Path
from typing import Any

OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "third_party/NOTICES.md": "notices.md",
}
"""File outside docs/ -> its page."""

NAVIGATION: dict[str, tuple[str, ...]] = {
    "Ways in": ("simulation", "face", "person", "faces", "street", "pictures", "rain", "prediction"),
    "Use": (
        *("footage", "labels", "training", "live", "long-videos", "export", "library", "cluster"),
        *("metrics", "report", "study"),
    ),
    "Reference": ("cli", "errors"),
    "Results": (
        *("results", "results-faces", "results-people", "results-streets", "results-simulator", "results-papers"),
        *("results-long-videos", "results-speed", "tables", "log"),
    ),
    "Development": ("architecture", "design", "contributing", "changelog", "notices"),
}
"""Section -> its pages in order. Pages that do not exist are left out; pages of docs/ without a section join "Use"."""

_IN_SITE = re.compile(r"docs/.+\.(md|png)")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def navigation(pages: set[str]) -> list[Any]:
    """The navigation of a site with these pages (`face.md`)."""
    named = {f"{page}.md" for section in NAVIGATION.values() for page in section} | {"index.md"}
    tree: list[Any] = [{"v2vkit": "index.md"}]
    for section, names in NAVIGATION.items():
        found = [f"{name}.md" for name in names if f"{name}.md" in pages]
        if section == "Use":
            found += sorted(pages - named)
        tree.append({section: found})
    return tree


def rewrite_links(text: str, source: str) -> str:
    """Rewrites the links of a file of the project to links between pages; links to other files become plain text.

    Args:
        text: Markdown.
        source: path of the file in the project, such as `docs/face.md`.
    """

    def rewritten(match: re.Match[str]) -> str:
        image, label, link = match.groups()
        if link.startswith("#") or "://" in link or link.startswith("mailto:"):
            return match.group(0)
        path, mark, anchor = link.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        page = OUTSIDE.get(path) or (path.removeprefix("docs/") if _IN_SITE.fullmatch(path) else None)
        if page is None:
            return label
        here = posixpath.dirname(OUTSIDE.get(source) or source.removeprefix("docs/"))
        return f"{image}[{label}]({posixpath.relpath(page, here or '.')}{mark}{anchor})"

    return _LINK.sub(rewritten, text)


def on_files(files: Any, config: Any) -> Any:
    """Adds the files of `OUTSIDE` and sets the navigation."""
    from mkdocs.structure.files import File

    root = Path(config.config_file_path).parent
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(root / source).read_text(encoding="utf-8")))
    pages = {file.src_uri for file in files.documentation_pages()}
    config.nav = navigation(pages)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrites the links of every page."""
    sources = {target: source for source, target in OUTSIDE.items()}
    return rewrite_links(markdown, sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
