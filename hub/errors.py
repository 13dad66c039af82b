"""The one exception for what a user can put right."""


class InputError(ValueError):
    """Raised for bad input; its message is one line that says what came and what was expected.

    It is a ``ValueError``, so Python callers need not know it. The command line prints the message without a traceback
    and exits with code 2; any other exception is a bug and keeps its traceback.
    """
