import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pictogram.hub.command_line import (
    check_options,
    command,
    new_app,
    option,
    print_result,
    printable,
    run_app,
    run_command,
    seed_option,
)
from pictogram.hub.errors import InputError


@dataclass(kw_only=True)
class Config:  # this module has no string annotations
    name: str = option("x", "What it is called.")
    num_steps: int = option(3, "How long it takes.", at_least=1)
    rate: float = option(0.5, "How fast, in [0, 1].", above=0, at_most=1)
    mode: str = option("no", "How.", one_of=("no", "yes"))
    loud: bool = option(False, "Whether it shouts.")
    seed: int = seed_option()

    def __post_init__(self):
        check_options(self)


def run(config: Config) -> dict[str, Any]:
    if config.name == "mistake":
        raise InputError("name must not be mistake")
    if config.name == "bug":
        raise ZeroDivisionError
    return {"name": config.name, "value": config.num_steps * config.rate, "loud": config.loud}


main = command(Config, run, "do-it", "Do it.\n\nExample: do-it --name y")


def app() -> typer.Typer:
    application = new_app()
    application.command()(main)
    return application


def call(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["do-it", *arguments])
    with pytest.raises(SystemExit) as exit_:
        run_command(main)
    code = exit_.value.code
    assert isinstance(code, int)
    return code


def test_options_are_typed_and_named_after_fields(monkeypatch, capsys):
    assert call(monkeypatch, "--name", "y", "--num-steps", "5", "--rate", "0.25", "--loud") == 0
    assert capsys.readouterr().out == "name: y\nvalue: 1.25\nloud: True\n"
    assert call(monkeypatch) == 0
    assert capsys.readouterr().out == "name: x\nvalue: 1.5\nloud: False\n"


def test_json_is_one_document(monkeypatch, capsys):
    assert call(monkeypatch, "--json", "--name", "gr\u00fcn") == 0
    assert json.loads(capsys.readouterr().out) == {"name": "gr\u00fcn", "value": 1.5, "loud": False}


def test_only_the_first_process_prints(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert call(monkeypatch) == 0
    assert capsys.readouterr().out == ""


def test_help_describes_every_option():
    result = CliRunner().invoke(app(), ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 0
    assert "Example: do-it --name y" in result.output
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in result.output
        assert field.metadata["help"] in result.output
    assert "Print one JSON document" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "mistake"], "error: name must not be mistake\n"),
        (["--num-steps", "0"], "error: num_steps must be at least 1, got 0\n"),
        (["--rate", "0"], "error: rate must be above 0, got 0.0\n"),
        (["--rate", "2"], "error: rate must be at most 1, got 2.0\n"),
        (["--rate", "nan"], "error: rate must be above 0, got nan\n"),
        (["--mode", "maybe"], "error: mode must be one of no, yes, got 'maybe'\n"),
        (["--seed", "-1"], "error: seed must be at least 0, got -1\n"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, monkeypatch, capsys):
    assert call(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", message)


@pytest.mark.parametrize("arguments", [["--num-steps", "x"], ["--unknown", "1"], ["--rate"], ["stray"]])
def test_mistakes_that_typer_finds(arguments, monkeypatch, capsys):
    assert call(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


def test_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["do-it", "--name", "bug"])
    with pytest.raises(ZeroDivisionError):
        run_command(main)


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (InputError("a [b]\nc"), 2), (OSError(28, "No space left", "a.png"), 2)],
)
def test_other_ends(error, code, monkeypatch, capsys):
    application = new_app()

    def ends():
        raise error

    application.command()(ends)
    monkeypatch.setattr(sys, "argv", ["ends"])
    with pytest.raises(SystemExit) as exit_:
        run_app(application)
    assert exit_.value.code == code
    expected = {
        KeyboardInterrupt: "interrupted; a training started again goes on from its last checkpoint",
        InputError: "a [b] c",
        OSError: "a.png: No space left",
    }
    assert capsys.readouterr().err.strip() == f"error: {expected[type(error)]}"


def test_figures_are_spelled_for_people(capsys):
    print_result({"psnr": [20.12345, 30.0], "none": [], "nested": {"a": 1, "b": 0.123456}}, json_output=False)
    assert capsys.readouterr().out == "psnr: 20.12, 30\nnone: none\nnested: a 1; b 0.1235\n"


def test_a_command_may_show_its_result_in_its_own_way(monkeypatch, capsys):
    shown = command(Config, run, "do-it", "Do it.", show=lambda result: print(f"<{result['name']}>"))
    for arguments, out in ((["--name", "y"], "<y>\n"), (["--json"], '{"name": "x", "value": 1.5, "loud": false}\n')):
        monkeypatch.setattr(sys, "argv", ["do-it", *arguments])
        with pytest.raises(SystemExit):
            run_command(shown)
        assert capsys.readouterr().out == out


def test_what_json_does_not_know_is_null(capsys):
    print_result({"psnr": float("inf"), "none": [float("nan")]}, True)
    assert json.loads(capsys.readouterr().out) == {"psnr": None, "none": [None]}


def test_nothing_that_is_printed_moves_the_cursor(capsys):
    print_result({"prompt": "red\x1b[2J\nmodel: noto"}, False)
    assert capsys.readouterr().out == "prompt: red\\x1b[2J\\nmodel: noto\n"


def test_scripts_that_join_letters_are_printed_as_they_are():
    for text in ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e", "赤い\u3000りんご"):
        assert printable(text) == text
    assert printable("a\u202eb") == "a\\u202eb"
