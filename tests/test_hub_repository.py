import pytest
from hub_server import HubServer
from tiny_hub import ERRORS, Client, files_of

from pictogram.hub.errors import InputError
from pictogram.hub.repository import check_may_push, download_folder, is_hub_name, open_file, push_folder

PUSHES = (
    ERRORS
    + """
import pathlib
from pictogram.hub.repository import download_folder, open_file, push_folder

folder = pathlib.Path(given["folder"])
for name in ("config.json", "weights.bin", ".hidden", "deep/.hidden", "a.tmp", "checkpoints/step-1/config.json", "x/y"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(name.encode())

def push(repo_id="alice/x", **options):
    return push_folder(folder, repo_id, **({"repo_type": "model", "token": "hf_alice"} | options))

first = push(tag="v1")
answer["first"] = [first.repo_id, first.repo_type, first.commit, first.url]
answer["same"] = push(tag="v1").commit
(folder / "config.json").write_text("{}")
answer["second"] = push(tag="v2", delete_patterns=["x/*"]).commit
answer["taken tag"] = error_of(push, tag="v1")
(folder / "config.json").write_text("[]")
answer["late tag"] = error_of(push, tag="v2")
(folder / "x" / "y").unlink()
answer["branch"] = push(revision="draft", allow_patterns=["*.json"], delete_patterns=["x/*"]).commit
answer["public"] = error_of(push, private=True)
answer["private"] = push("alice/secret", private=True, repo_type="dataset").commit
answer["others"] = error_of(push, "bob/x")
answer["nobody"] = error_of(push, token="hf_nobody")
answer["bad name"] = error_of(push, "alice/x--y")
(folder / "README.md").write_text("---\\na: [\\n---\\n")
answer["bad card"] = error_of(push)

got = download_folder("alice/x", repo_type="model", revision="v1", allow_patterns=["*.bin"], token="hf_alice")
answer["download"] = [got.commit, sorted(path.name for path in got.folder.rglob("*"))]
kind = {"repo_type": "model"}
answer["missing"] = error_of(download_folder, "alice/nothing", **kind)
answer["missing revision"] = error_of(download_folder, "alice/x", revision="v9", **kind)
answer["missing commit"] = error_of(download_folder, "alice/x", revision="0" * 40, **kind)
answer["without token"] = error_of(download_folder, "alice/secret", repo_type="dataset")
with open_file("alice/x", "config.json", revision="v1", **kind) as file:
    answer["opened"] = file.read().decode()
answer["missing file"] = error_of(open_file, "alice/x", "nothing", revision="v1", **kind)
"""
)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    with HubServer() as server:
        client = Client(server, home / "home")
        (home / "folder").mkdir()
        yield server, client, client.run(PUSHES, token=None, folder=str(home / "folder"))
        assert not server.errors


def test_names():
    assert is_hub_name("owner/name.v2_x-y")
    for name in ("name", "a/b/c", "./a/b", "../b", "/a/b", "~/b", "a/", "/b", "a b/c", "a/.b", "", "ä/b", "a/b\n"):
        assert not is_hub_name(name), name


def test_a_folder_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("owner/name")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert not is_hub_name("owner/name")


def test_a_push_sends_what_it_should(pushed):
    server, _, answer = pushed
    repo_id, repo_type, commit, url = answer["first"]
    assert (repo_id, repo_type, url) == ("alice/x", "model", f"{server.endpoint}/alice/x")
    sent = {".gitattributes", "config.json", "weights.bin", "x/y"}  # the first is the server's own
    assert set(files_of(server, "model:alice/x", commit)) == sent
    assert server.store.repos["model:alice/x"]["tags"]["v1"]["commit"] == commit


def test_the_same_push_again_changes_nothing(pushed):
    _, _, answer = pushed
    assert answer["same"] == answer["first"][2]


def test_tags_branches_and_deletions(pushed):
    server, _, answer = pushed
    assert answer["taken tag"] == f"the tag 'v1' of alice/x names {answer['first'][2]} already: choose another tag"
    assert answer["late tag"].endswith(f"but the tag 'v2' names {answer['second']}: choose another tag")
    assert len({answer["first"][2], answer["second"], answer["branch"]}) == 3
    assert server.store.repos["model:alice/x"]["tags"]["v2"]["commit"] == answer["second"]
    assert files_of(server, "model:alice/x", "v2")["config.json"] == b"{}"
    assert "x/y" in files_of(server, "model:alice/x", "main")  # the folder had it, so no pattern deletes it
    assert set(files_of(server, "model:alice/x", "draft")) == {".gitattributes", "config.json", "weights.bin"}


def test_private_repositories(pushed):
    server, _, answer = pushed
    assert server.store.repos["dataset:alice/secret"]["private"]
    assert answer["public"].startswith("alice/x is there already and public")
    assert answer["without token"].startswith("no folder of that name is here, and there is no dataset alice/secret")
    assert "or it is private" in answer["without token"] and "HF_TOKEN" in answer["without token"]


def test_refusals_are_one_line(pushed):
    _, _, answer = pushed
    assert 'under the namespace "bob" (status 403)' in answer["others"]
    assert "Invalid credentials" in answer["nobody"] and "hf auth login" in answer["nobody"]
    assert answer["bad name"].startswith("'alice/x--y' cannot be a repository")
    assert answer["bad card"].startswith("Invalid metadata in README.md.")
    assert not [line for line in answer.values() if isinstance(line, str) and "\n" in line]


def test_downloads(pushed):
    _, _, answer = pushed
    assert answer["download"] == [answer["first"][2], ["weights.bin"]]
    assert "there is no model alice/nothing on the Hub" in answer["missing"]
    assert answer["missing revision"] == "model alice/x has no revision 'v9': expected a branch, a tag or a commit"
    assert answer["missing commit"].startswith("model alice/x has no revision '0000")
    assert answer["opened"] == "config.json"
    assert answer["missing file"] == "model alice/x has no file nothing in v1"


def test_an_upload_that_fails_for_good_says_that_it_goes_on(tmp_path):
    code = """
import time
from pictogram.hub.repository import push_folder

time.sleep = lambda seconds: None  # between the client's retries
answer["error"] = error_of(push_folder, given["folder"], "alice/x", repo_type="model")
"""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "weights.bin").write_bytes(b"\0" * 100)
    with HubServer() as server:
        client = Client(server, tmp_path / "home")
        server.fault("PUT", "^/_cas/upload/", status=500, times=100)
        error = client.run(ERRORS + code, folder=str(tmp_path / "folder"))["error"]
        assert error.startswith("the upload was cut off (") and error.endswith(
            "make the push again, and it goes on there"
        )
        server.faults.clear()
        assert client.run(ERRORS + code, folder=str(tmp_path / "folder"))["error"] is None
        assert files_of(server, "model:alice/x")["weights.bin"] == b"\0" * 100


def test_without_a_server(tmp_path):
    with HubServer() as server:
        client = Client(server, tmp_path)
    code = """
from pictogram.hub.repository import download_folder, open_file, push_folder

answer["push"] = error_of(push_folder, ".", "alice/x", repo_type="model")
answer["download"] = error_of(download_folder, "alice/x", repo_type="model")
answer["open"] = error_of(open_file, "alice/x", "a", repo_type="dataset", revision="main")
"""
    answer = client.run(ERRORS + code)
    assert answer["push"] == "model alice/x cannot be reached: the Hub does not answer"
    assert answer["open"] == "dataset alice/x cannot be reached: the Hub does not answer"
    assert "is not in the cache" in answer["download"] and answer["download"].endswith("the Hub does not answer")


def test_a_push_without_token(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match=r"a push needs the token .* HF_TOKEN"):
        push_folder(tmp_path, "alice/x", repo_type="model")
    with pytest.raises(InputError, match="expected owner/name"):
        check_may_push("x", "token")


@pytest.mark.parametrize("name", ["x", "a/b/c", "a b/c"])
def test_no_name_of_a_repository(name):
    with pytest.raises(InputError, match="cannot be a repository on the Hub: expected owner/name"):
        download_folder(name, repo_type="model")


def test_offline_and_not_in_the_cache(tmp_path):
    with pytest.raises(InputError, match=r"model alice/x is not in the cache, .* HF_HUB_OFFLINE is set"):
        download_folder("alice/x", repo_type="model")
    with pytest.raises(InputError, match="dataset alice/x cannot be reached: HF_HUB_OFFLINE is set"):
        open_file("alice/x", "a", repo_type="dataset", revision="main")
    with pytest.raises(InputError, match="model alice/x cannot be reached: HF_HUB_OFFLINE is set"):
        push_folder(tmp_path, "alice/x", repo_type="model", token="hf_alice")
