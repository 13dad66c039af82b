import importlib

import pytest
from huggingface_hub import errors

from pictogram.hub.client_errors import Request, client_errors
from pictogram.hub.errors import InputError

# The client's own HTTP library, which changed its name between versions.
HTTP = importlib.import_module(errors.Response.__module__.split(".")[0])


def answer(kind: type[errors.HfHubHTTPError], status: int, message: str = "", code: str = "") -> Exception:
    response = HTTP.Response(status, headers={"X-Error-Code": code}, request=HTTP.Request("GET", "https://hub/x"))
    return kind(f"{status} Client Error.\n\n{message}", response=response, server_message=message)


def line(error: Exception, repo_type: str = "model", revision: str | None = None, is_download: bool = False) -> str:
    with pytest.raises(InputError) as raised, client_errors(Request("a/b", repo_type, revision, is_download)):
        raise error
    assert raised.value.__cause__ is error
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_repositories_that_are_not_there():
    missing = answer(errors.RepositoryNotFoundError, 404)
    assert line(missing).startswith("there is no model a/b on the Hub, or it is private: check the name, and log in")
    assert line(missing, is_download=True).startswith("no folder of that name is here, and there is no model a/b")
    assert line(answer(errors.GatedRepoError, 403)).startswith("access to model a/b is restricted")


def test_revisions_that_are_not_there():
    missing = answer(errors.RevisionNotFoundError, 404)
    wanted = "dataset a/b has no revision 'v9': expected a branch, a tag or a commit"
    assert line(missing, repo_type="dataset", revision="v9") == wanted


@pytest.mark.parametrize("status", [401, 403])
def test_refusals_name_the_way_to_log_in(status):
    text = line(answer(errors.HfHubHTTPError, status, "You may\nnot"))
    assert text.startswith(f"the Hub answers for model a/b: You may not (status {status})")
    assert "HF_TOKEN" in text


def test_other_answers_say_what_the_hub_says():
    assert line(answer(errors.HfHubHTTPError, 409, "no")) == "the Hub answers for model a/b: no (status 409)"
    assert "409 Client Error." in line(answer(errors.HfHubHTTPError, 409))


def test_trouble_on_the_hub_s_side_passes():
    wanted = "the Hub answers for model a/b: busy (status 503); try again later, what has arrived stays there"
    assert line(answer(errors.HfHubHTTPError, 503, "busy")) == wanted


def test_a_branch_that_moved():
    moved = answer(errors.HfHubHTTPError, 412, "A commit has happened since. Please refresh and try again.")
    assert line(moved).startswith("model a/b has changed while this push was made, so it was refused: see what came in")


def test_names_that_cannot_be():
    assert line(errors.HFValidationError("a\nb")).startswith("'a/b' cannot be a repository on the Hub")


def test_no_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert line(HTTP.ConnectError("refused")) == "model a/b cannot be reached: the Hub does not answer"
    cached = line(errors.LocalEntryNotFoundError("nothing"), is_download=True)
    assert cached.startswith("no folder of that name is here, and model a/b is not in the cache")


def test_offline_on_purpose(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    offline = line(errors.OfflineModeIsEnabled("offline"))
    assert offline == "model a/b cannot be reached: HF_HUB_OFFLINE is set"


def test_bugs_and_our_own_lines_pass():
    with pytest.raises(ZeroDivisionError), client_errors(Request("a/b", "model")):
        _ = 1 / 0
    with pytest.raises(InputError, match="mine"), client_errors(Request("a/b", "model")):
        raise InputError("mine")
