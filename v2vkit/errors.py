"""The one exception that users are meant to see, and the words for it."""


class V2VError(Exception):
    """A mistake that the user can mend: what is wrong, and what to do about it.

    Args:
        message: one sentence on what is wrong (which file, which setting, which value).
        hint: one sentence on what to do or what to type.
    """

    def __init__(self, message: str, hint: str):
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"


def counted(number: int, noun: str) -> str:
    """A number of things in words: `1 frame`, `2 frames`."""
    return f"{number} {noun}" + "s" * (number != 1)
