"""The one exception that users are meant to see, and the words for it."""

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a used-up quota and a limit on the size of files (`ulimit -f`)."""


class V2VError(Exception):
    """An error that the user can fix: a stable code, what is wrong, and what to do about it.

    Args:
        code: a stable name of the kind of error, lower case with hyphens (`artifact-stale`); the same wherever the same
            thing is wrong, and never changed with the sentences. Programs and tests compare this.
        message: one sentence on what is wrong (which file, which setting, which value).
        hint: one sentence on what to do or what to type.
    """

    def __init__(self, code: str, message: str, hint: str):
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"


def disk_full(path: object) -> V2VError:
    """The error for a path that could not be written for one of the reasons in `DISK_FULL`."""
    return V2VError(
        "disk-full",
        f"{path} could not be written: the disk is full or a limit on file size is reached.",
        "Free some space and rerun the command.",
    )


def counted(number: int, noun: str) -> str:
    """A number of things in words: `1 frame`, `2 frames`."""
    return f"{number} {noun}" + "s" * (number != 1)
