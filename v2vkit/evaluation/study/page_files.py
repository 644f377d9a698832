"""The raters' page: packaged HTML, JavaScript and CSS, with the trials of a study inserted.

The trials are part of the page itself, so that it works from any web server, and even opened as a file.
"""

import html
import json
from importlib.resources import files
from pathlib import Path

from v2vkit.evaluation.study.key import Key

PAGE_FILES = {"index.html": "text/html; charset=utf-8", "study.js": "text/javascript; charset=utf-8"}
PAGE_FILES |= {"study.css": "text/css; charset=utf-8"}
"""File name -> media type."""
_DATA = "{{data}}"
_QUESTION = "{{question}}"


def page_data(key: Key) -> dict[str, object]:
    """The data in the page: only random ids. Method, clip name and kind of trial stay in the key."""
    return {
        "study": key.study,
        "trials": [{"id": trial.id, "left": trial.left.id, "right": trial.right.id} for trial in key.trials],
    }


def write_page(folder: Path, key: Key) -> None:
    """Write index.html, study.js and study.css into `folder`."""
    data = json.dumps(page_data(key)).replace("<", "\\u003c")  # must not close the script element
    for name in PAGE_FILES:
        text = (files("v2vkit.evaluation.study") / "page" / name).read_text(encoding="utf-8")
        if name == "index.html":
            text = text.replace(_QUESTION, html.escape(key.question)).replace(_DATA, data)
        (folder / name).write_text(text, encoding="utf-8")
