"""A command out of a typed configuration: its fields are the options, their descriptions the help."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import json
import math
import operator
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, NoReturn, TypeVar, get_type_hints

import typer
from rich.console import Console
from typer.core import TyperGroup

from .errors import InputError
from .files import finite

Config = TypeVar("Config")

OUTPUT_FLAGS = ("--output", "--out", "-o")
"""Where a command writes, spelled alike in all of them."""


def option(
    default: Any,
    description: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    one_of: Collection[Any] | None = None,
    flag: str | None = None,
) -> Any:
    """A dataclass field that is also a command-line option, with this description as its help.

    Args:
        default: of the field and the option.
        description: the help text.
        at_least: smallest value.
        above: a value must be greater than this.
        at_most: greatest value.
        one_of: the values there are.
        flag: the option's name where it is not the field's.
    """
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "one_of": one_of}
    return dataclasses.field(default=default, metadata={"help": description, "flag": flag, **limits})


def seed_option() -> Any:
    """The seed of a run; the range is what NumPy takes."""
    return option(0, "Seed of everything random.", at_least=0, at_most=2**32 - 1)


def check_options(config: Any) -> None:
    """Compares a configuration with the limits of its options; call it from `__post_init__`.

    Raises:
        InputError: a value outside its limits, NaN included.
    """
    for field in dataclasses.fields(config):
        value, limits = getattr(config, field.name), field.metadata
        checks = {
            "at least": (limits.get("at_least"), operator.ge),
            "above": (limits.get("above"), operator.gt),
            "at most": (limits.get("at_most"), operator.le),
        }
        for words, (limit, holds) in checks.items():
            if limit is not None and not holds(value, limit):
                raise InputError(f"{field.name} must be {words} {limit}, got {value}")
        if limits.get("one_of") is not None and value not in limits["one_of"]:
            raise InputError(f"{field.name} must be one of {', '.join(map(str, limits['one_of']))}, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{field.name} must be a finite number, got {value}")


def entries(text: str) -> list[str]:
    """Entries of a comma-separated option.

    Example:
        >>> entries("image, 8,4"), entries(" ")
        (['image', '8', '4'], [])
    """
    return [entry.strip() for entry in text.split(",")] if text.strip() else []


def numbers(name: str, text: str) -> list[float]:
    """Entries of a comma-separated option as finite numbers.

    Raises:
        InputError: one is none.
    """
    try:
        values = [float(entry) for entry in entries(text)]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise InputError(f"{name} must be numbers, got {text!r}")
    return values


def whole_numbers(name: str, text: str) -> list[int]:
    """Entries of a comma-separated option as whole numbers.

    Raises:
        InputError: one is none.
    """
    values = numbers(name, text)
    if any(value != int(value) for value in values):
        raise InputError(f"{name} must be whole numbers, got {text!r}")
    return [int(value) for value in values]


def command(
    config_class: type[Config],
    run: Callable[[Config], dict[str, Any]],
    name: str,
    description: str,
    *,
    summarise: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    exit_code: Callable[[dict[str, Any]], int] = lambda _: 0,
    show: Callable[[dict[str, Any]], None] | None = None,
) -> Callable[..., None]:
    """The function that typer turns into a command.

    Args:
        config_class: a keyword-only dataclass of `option` fields of type int, float, str or bool.
        run: does the work and returns what `--json` prints.
        name: of the function, for messages.
        description: the command's help, with an example.
        summarise: makes of that result what people see; everything unless told.
        presets: named sets of values for `--preset`; an option given beside it wins over its value.
        exit_code: of the process, by that result.
        show: prints the result for people, in place of one line a figure.
    """

    def call(json_output: bool, **options: Any) -> None:
        result = run(config_class(**_chosen(options, presets or {})))
        if os.environ.get("RANK", "0") == "0":  # set by torchrun: one result, however many processes found it
            if show is not None and not json_output:
                show(result)
            else:
                print_result(result if json_output else summarise(result), json_output)
        if code := exit_code(result):
            raise SystemExit(code)

    types = get_type_hints(config_class)
    fields = dataclasses.fields(config_class)  # pyright: ignore[reportArgumentType]
    parameters = [_parameter(field, types[field.name]) for field in fields]
    if presets:
        parameters.insert(0, _preset_parameter(presets))
    json_type = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
    parameters.append(
        inspect.Parameter("json_output", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=json_type)
    )
    call.__name__, call.__doc__ = name, description
    call.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _parameter(field: dataclasses.Field[Any], type_: type) -> inspect.Parameter:
    flags = OUTPUT_FLAGS if field.name == "output" else filter(None, [field.metadata["flag"]])
    # Not given is None, so that a value given is told from a default even if they are equal.
    given = typer.Option(*flags, help=field.metadata["help"], show_default=str(field.default) or False)
    annotation = Annotated[type_ | None, given]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _preset_parameter(presets: Mapping[str, Mapping[str, Any]]) -> inspect.Parameter:
    given = typer.Option(help=f"Start from the values of {', '.join(presets)}; other options win.")
    return inspect.Parameter(
        "preset", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, given]
    )


def _chosen(options: dict[str, Any], presets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The options that were given, over the values of the preset."""
    preset = options.pop("preset", None)
    if preset is not None and preset not in presets:
        raise InputError(f"preset must be one of {', '.join(presets)}, got {preset!r}")
    given = {name: value for name, value in options.items() if value is not None}
    return {**(presets[preset] if preset else {}), **given}


def print_result(result: dict[str, Any], json_output: bool) -> None:
    """One JSON document on standard output, or one `name: value` line a figure."""
    if json_output:
        print(json.dumps(finite(result), ensure_ascii=False, allow_nan=False))
        return
    for name, value in result.items():
        print(f"{name}: {_spell(value)}")


def printable(text: str) -> str:
    r"""A text as it may be shown on a terminal: control characters, line ends among them, become escapes.

    So do those that turn the direction of writing round; joiners and spaces of other scripts stay.

    Example:
        >>> printable("red\x1b[2J\napple")
        'red\\x1b[2J\\napple'
    """
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in _TURNS
        else letter
        for letter in text
    )


def table_console() -> Console:
    """Standard output for tables: wide where nobody watches a terminal or says how wide, so that none is cut."""
    return Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=_FILE_WIDTH)


def _spell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_spell, value)) if value else "none"
    if isinstance(value, dict):
        return "; ".join(f"{name} {_spell(inner)}" for name, inner in value.items())
    return printable(str(value))


def new_app(description: str | None = None, group: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """A typer application with this project's habits: plain tracebacks, for bugs only."""
    return typer.Typer(
        cls=group,
        help=description,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )


_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Letters that turn the direction of writing round."""

_FILE_WIDTH = 250
"""Columns of tables that go into a file or another program."""

_INTERRUPTED = 130
"""Exit code of a process that was told to stop from the keyboard."""


def run_app(app: typer.Typer) -> None:
    """Runs a command line; the user's mistakes become one line on standard error and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be text: they are printed, as escapes
            with contextlib.suppress(OSError):  # of a stream that cannot tell where it is
                stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except InputError as error:
        _fail(" ".join(str(error).split("\n")), 2)
    except OSError as error:  # a full disk, a name too long, no permission: nothing that a traceback would explain
        _fail(f"{error.filename}: {error.strerror}" if error.filename else " ".join(str(error).split("\n")), 2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # to which typer turns a KeyboardInterrupt
            _fail("interrupted; a training started again goes on from its last checkpoint", _INTERRUPTED)
        raise


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(f"error: {message}", style="red", markup=False, highlight=False)
    sys.exit(code)


def run_command(function: Callable[..., None]) -> None:
    """Runs a module's single command."""
    app = new_app()
    app.command()(function)
    quiet_libraries()
    run_app(app)


def quiet_libraries() -> None:
    """Keeps bars and notes of other libraries, those that are loaded, out of our output; errors still show."""
    if hub := sys.modules.get("huggingface_hub"):
        hub.utils.logging.set_verbosity_error()
        if not sys.stderr.isatty():  # not all of its bars look for themselves
            hub.utils.disable_progress_bars()
    if datasets := sys.modules.get("datasets"):
        datasets.disable_progress_bars()
    if transformers := sys.modules.get("transformers"):
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", module="torch.utils.data")
