"""Every user error has a literal code, which `docs/errors.md` lists."""

import re
import runpy
from pathlib import Path

import pytest

from v2vkit.errors import V2VError

ROOT = Path(__file__).resolve().parents[2]
PAGE = runpy.run_path(str(ROOT / "docs/generate_errors.py"))
FORM = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+){1,4}")


def is_code(text: str) -> bool:
    return FORM.fullmatch(text) is not None


def test_every_error_has_a_literal_code_of_the_right_form() -> None:
    errors = list(PAGE["find_errors"]())
    assert len(errors) > 100
    wrong = [
        f"{error.file}:{error.line}"
        for error in errors
        if not error.passed_on and not (error.codes and all(map(is_code, error.codes)))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "codes", "passed_on", "message"),
    [
        ('V2VError("disk-full", "No space.", "Free some.")', ("disk-full",), False, "No space."),
        ('V2VError("a-b" if x else "c-d", f"{x} is not {y}.", hint)', ("a-b", "c-d"), False, "… is not …."),
        ('V2VError(error.code, f"{x}: {error.message}", error.hint)', (), True, "…: …"),
        ('V2VError(code, "No space.", "Free some.")', (), False, "No space."),
        ('V2VError(f"{what}-missing", "No space.", "Free some.")', (), False, "No space."),
        ('V2VError("file-missing", found, "Look.")', ("file-missing",), False, "…"),
    ],
)
def test_codes_and_messages_are_read_from_the_source(
    tmp_path: Path, source: str, codes: tuple[str, ...], passed_on: bool, message: str
) -> None:
    (tmp_path / "a.py").write_text(f"def f():\n    raise {source}\n")
    (error,) = PAGE["find_errors"](tmp_path)
    assert error == ("a.py", 2, codes, passed_on, message)


@pytest.mark.parametrize("text", ["Disk-full", "disk_full", "disk", "a-b-c-d-e-f", "disk-", ""])
def test_other_forms_are_no_codes(text: str) -> None:
    assert not is_code(text)


def test_the_page_lists_every_code_once_with_its_messages(tmp_path: Path) -> None:
    for name, code in (("b", "disk-full"), ("a", "file-missing"), ("c", "disk-full")):
        (tmp_path / f"{name}.py").write_text(f'raise V2VError("{code}", f"{{{name}}} is wrong | or not.", "Look.")')
    assert PAGE["document"](tmp_path).endswith(
        "| `disk-full` | b.py | … is wrong \\| or not. |\n"
        "|  | c.py | … is wrong \\| or not. |\n"
        "| `file-missing` | a.py | … is wrong \\| or not. |\n"
    )


def test_an_error_is_its_message_and_its_hint() -> None:
    error = V2VError("disk-full", "The disk is full.", "Free some space.")
    assert (error.code, error.message, error.hint) == ("disk-full", "The disk is full.", "Free some space.")
    assert str(error) == "The disk is full. Free some space."
