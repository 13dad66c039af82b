"""The one exception for what a user can put right."""


class InputError(ValueError):
    """Raised for bad input; its message is one line that says what came and what was expected.

    It is a ``ValueError``, so Python callers need not know it. The command line prints the message without a traceback
    and exits with code 2; any other exception is a bug and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    r"""What another library's error says, on one line; the error's type if it says nothing.

    Example:
        >>> first_line(OSError("no space left\nmore of the story"))
        'no space left'
        >>> first_line(TimeoutError())
        'TimeoutError'
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
