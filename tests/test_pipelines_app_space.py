"""A Space's folder: what lies in it, that it runs without the installed package, and its way to the Hub."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_server import HubServer
from tiny_apps import needs_gradio
from tiny_chain import bundle_folder
from tiny_hub import ERRORS, Client, files_of

from pictogram.hub.errors import InputError
from pictogram.pipelines import app_space
from pictogram.pipelines.app_space import check_space_folder, export_space, requirements, space_sdk
from pictogram.pipelines.push import find_out

SECONDS = 120.0
ROOT = Path(__file__).parents[1]

pytestmark = needs_gradio


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("spaces") / "space"
    done = export_space(str(bundle_folder()), folder, examples=["red apple", "it's"])
    assert done["space"] == str(folder) and done["model"] == "bundle/bundle-level" and done["files"] > 200
    return folder


def test_it_is_a_space(space):
    import gradio
    from huggingface_hub import metadata_load

    about = metadata_load(space / "README.md")
    assert about is not None
    assert (about["sdk"], about["sdk_version"], about["app_file"]) == ("gradio", gradio.__version__, "app.py")
    assert about["license"] == "apache-2.0" and "models" not in about and len(about["short_description"]) <= 60
    assert space_sdk(space) == "gradio"
    text = (space / "app.py").read_text()
    compile(text, "app.py", "exec")
    assert "run_space(str(HERE / 'bundle' / 'bundle-level'), revision='', examples=['red apple', \"it's\"])" in text
    assert len(text.splitlines()) < 12


def test_the_package_and_the_model_lie_in_it(space):
    sources = {path.relative_to(ROOT) for name in app_space.PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert all((space / "pictogram" / path).is_file() for path in sources)
    for path in ("__init__.py", "__main__.py", "py.typed", "pipelines/app.css", "pipelines/atlas.html"):
        assert (space / "pictogram" / path).read_bytes() == (ROOT / path).read_bytes()
    assert list((space / "pictogram" / "tokenizer" / "noto32").iterdir())
    unwanted = [path for path in space.rglob("*") if path.name in ("__pycache__", "tests", ".git", "benchmarks")]
    assert not unwanted
    weights = space / "bundle" / "bundle-level" / "model.safetensors"
    assert weights.read_bytes() == (bundle_folder() / "model.safetensors").read_bytes()


def test_requirements_are_the_packages_own(space):
    lines = (space / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("torch>=") for line in lines) and any(line.startswith("transformers") for line in lines)
    assert not any("extra" in line and "==" in line for line in lines)
    assert not any(line.startswith(("pictogram", "gradio")) for line in lines)  # the sdk brings gradio
    assert lines[1:] == requirements()


def test_a_second_export_leaves_nothing_of_the_first(space):
    (space / "pictogram" / "stale.py").write_text("")
    (space / "notes.txt").write_text("mine")
    export_space(str(bundle_folder()), space, examples=["red apple", "it's"])
    assert not (space / "pictogram" / "stale.py").exists() and (space / "notes.txt").read_text() == "mine"
    (space / "notes.txt").unlink()


def test_a_trainings_folder_gives_its_parents_name(tmp_path):
    shutil.copytree(bundle_folder(), tmp_path / "my demo" / "bundle")
    export_space(str(tmp_path / "my demo" / "bundle"), tmp_path / "space")
    assert (tmp_path / "space" / "bundle" / "my demo" / "config.json").is_file()
    assert "with `my demo`" in (tmp_path / "space" / "README.md").read_text()


def test_folders_of_something_else(tmp_path):
    check_space_folder(tmp_path / "new")
    check_space_folder(tmp_path)
    (tmp_path / ".files.4242-0123abcd.tmp" / "pictogram").mkdir(parents=True)  # an export was killed
    check_space_folder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        check_space_folder(tmp_path / "file")
    for readme in (
        None,
        "# My thesis\n",
        "---\nsdk: static\n---\n",
        "---\nsdk: gradio\n---\n",
        "---\na: [\n---\n",
        "---\nsdk: [1]\n---\n",
    ):
        if readme:
            (tmp_path / "README.md").write_text(readme)
        with pytest.raises(InputError, match="holds something that `pictogram app --export` did not write"):
            check_space_folder(tmp_path)
    with pytest.raises(InputError, match="holds something that `pictogram app --export` did not write"):
        export_space(str(bundle_folder()), tmp_path)
    with pytest.raises(InputError, match="nowhere is not a whole bundle"):
        export_space("nowhere", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_name_on_the_hub_stays_a_name(tmp_path, monkeypatch):
    from pictogram.lm.bundle import Bundle

    class Named:
        revision = "1" * 40

    monkeypatch.setattr(Bundle, "from_pretrained", classmethod(lambda cls, *arguments: Named()))
    export_space("owner/name", tmp_path, "v1")
    assert "run_space('owner/name', revision='" + "1" * 40 in (tmp_path / "app.py").read_text()
    assert "- owner/name" in (tmp_path / "README.md").read_text() and not (tmp_path / "bundle").exists()


def test_push_knows_spaces(space, tmp_path):
    assert find_out(space).kind == "Space (gradio)"
    (tmp_path / "README.md").write_text("---\nsdk: static\n---\n")  # an atlas, for example
    assert find_out(tmp_path).kind == "Space (static)"


PUSHES = (
    ERRORS
    + """
import pathlib
from pictogram.pipelines.push import find_out

folder = pathlib.Path(given["folder"])
push = find_out(folder).push
first = push("alice/demo")
answer["first"] = [first.repo_type, first.url]
(folder / "pictogram" / "old.py").unlink()
answer["second"] = push("alice/demo").commit
answer["others"] = error_of(push, "bob/demo")
from pictogram.pipelines.app_space import push_space
answer["no space"] = error_of(push_space, folder / "pictogram", "alice/demo")
"""
)


def test_a_space_goes_to_the_hub(tmp_path):
    folder = tmp_path / "space"
    (folder / "pictogram").mkdir(parents=True)
    for name in ("app.py", "pictogram/new.py", "pictogram/old.py", "requirements.txt"):
        (folder / name).write_text(name)
    (folder / "README.md").write_text("---\nsdk: gradio\nsdk_version: 6.31.0\n---\n")
    with HubServer() as server:
        answer = Client(server, tmp_path / "home").run(PUSHES, folder=str(folder))
        assert answer["first"] == ["space", f"{server.endpoint}/spaces/alice/demo"]
        sent = {".gitattributes", "README.md", "app.py", "requirements.txt", "pictogram/new.py"}
        assert set(files_of(server, "space:alice/demo", answer["second"])) == sent
        assert not server.errors
    assert 'under the namespace "bob"' in answer["others"]
    assert "is no Space: it has no README.md that names an sdk" in answer["no space"]


HIDDEN = """
import runpy, sys
from pathlib import Path
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.path = [str(Path.cwd()), *(path for path in sys.path if path and not (Path(path) / "pictogram").is_dir())]
import pictogram
print("PACKAGE", pictogram.__file__, pictogram.__version__, flush=True)
runpy.run_path("app.py", run_name="__main__")
"""
"""Runs app.py as `python app.py` would where pictogram is not installed."""


@pytest.mark.slow
def test_it_runs_and_answers_without_the_installed_package(space, tmp_path):
    from gradio_client import Client as GradioClient

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen([sys.executable, "-c", HIDDEN], cwd=space, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            last = time.monotonic() + SECONDS
            while "pictogram at" not in (lines := (tmp_path / "log").read_text()) and time.monotonic() < last:
                assert process.poll() is None, lines
                time.sleep(0.2)
            assert f"PACKAGE {space / 'pictogram' / '__init__.py'} " in lines and "Traceback" not in lines
            assert f"pictogram at http://127.0.0.1:{port}/" in lines
            client = GradioClient(f"http://127.0.0.1:{port}", verbose=False, analytics_enabled=False)
            answer = client.predict("red apple", 2, 0, 1, 1, "", api_name="/draw")
            assert "pg-done" in answer and "“red apple”" in answer
        finally:
            process.kill()
