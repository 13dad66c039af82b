"""Tokenizers with their code, opened by a Python that has no pictogram, from a folder and from a loopback server."""

import ast
import hashlib
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import HubServer
from PIL import Image
from safetensors.torch import load_file
from stock_python import StockPython
from tiny_adapters import adapted
from tiny_chain import tokenizer_folder
from tiny_evaluations import provenance
from tiny_hub import Client, files_of
from transformers import AutoConfig, AutoImageProcessor, AutoModel
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

from pictogram.hub.errors import InputError
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.fingerprints import decoder_fingerprint
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.loading import TOKENIZER_FILES, LoadedImageTokenizer, load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.remote_code import CODE_PATTERNS, add_remote_code, drop_remote_code, export_remote_code

ROOT = Path(__file__).parents[1]

MEASURE = """
import torch

def measure(model, processor, pictures):
    pixel_values = processor(pictures, return_tensors="pt")["pixel_values"]
    codes = model.encode(pixel_values)
    found = {"pixel_values": pixel_values}
    for level, grid in enumerate(codes):
        found[f"codes_{level}"] = grid
        found[f"prefix_{level}"] = model.decode(codes, num_levels=level + 1).contiguous()
    found["forward"] = model(pixel_values).reconstruction.detach().contiguous()
    return found
"""
"""Everything that a tokenizer says about pictures. Runs on both sides."""

STOCK = (
    """
import importlib.util, json, pathlib, sys

given = json.loads(sys.argv[1])
for name in ("pictogram", "accelerate", "datasets", "sentencepiece", "psutil"):
    assert importlib.util.find_spec(name) is None, name
try:
    import pictogram
    raise SystemExit("pictogram is here")
except ModuleNotFoundError:
    pass

from PIL import Image
from safetensors.torch import save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel
"""
    + MEASURE
    + """
pictures = [Image.open(path) for path in given["pictures"]]

def read(place, **options):
    config = AutoConfig.from_pretrained(place, trust_remote_code=True, **options)
    model = AutoModel.from_pretrained(place, trust_remote_code=True, **options)
    processor = AutoImageProcessor.from_pretrained(place, trust_remote_code=True, **options)
    assert not model.training and config.to_dict() == model.config.to_dict()
    for part in (config, model, processor):
        assert type(part).__module__.startswith("transformers_modules."), type(part)
    return model, processor

out = pathlib.Path(given["out"])
for name, (place, options) in given["places"].items():
    model, processor = read(place, **options)
    save_file(measure(model, processor, pictures), out / f"{name}.safetensors")
    if name in given["again"]:
        for part in (model, processor):
            part.save_pretrained(out / f"{name}_again")
        save_file(measure(*read(out / f"{name}_again"), pictures), out / f"{name}_again.safetensors")

for name, example in given["examples"].items():
    done = {}
    exec(compile(example, name, "exec"), done)
    codes = {f"codes_{level}": grid for level, grid in enumerate(done["codes"])}
    save_file({**codes, "pixels": done["pixels"].contiguous()}, out / f"{name}.safetensors")

refused = None
try:
    AutoModel.from_pretrained(next(iter(given["places"].values()))[0], trust_remote_code=False)
except ValueError as error:
    refused = str(error)
assert "trust_remote_code=True" in refused
print("read", *sorted(module for module in sys.modules if module.startswith("transformers_modules.")))
"""
)

KINDS: dict[str, dict[str, Any]] = {
    "ema": {},
    "grey": {"num_channels": 1, "strides": [8, 4]},
    "l2": {"quantizer": "l2", "gradient_estimator": "rotation", "strides": [8, 4]},
    "fsq": {"quantizer": "fsq", "num_channels": 1},
    "lfq": {"quantizer": "lfq"},
    "residual": {"strides": ["image", 4, 4]},
    "rate": {"rate_weight": 40.0, "own_image_features": True},
}
"""Each quantizer, with and without a whole-image level, grey and in colour; and what else has code of its own."""

AGAIN = ["lfq", "rate", "name"]
"""What is saved without pictogram."""

MATRIX: dict[str, dict[str, Any]] = {
    f"{quantizer} {len(strides)} {channels}": {"quantizer": quantizer, "strides": strides, "num_channels": channels}
    for quantizer in ("ema", "l2", "fsq", "lfq")
    for strides in (["image", 8, 4], [8, 4], [8])
    for channels in (1, 3)
}


def tokenizer(strides=("image", 8, 4), **settings: Any) -> LoadedImageTokenizer:
    """Untrained, with codes that differ from picture to picture."""
    torch.manual_seed(0)
    sizes = [4, 8, 16][: len(strides)]
    config = ImageTokenizerConfig(
        image_size=16, strides=list(strides), codebook_sizes=sizes, codebook_dim=4, hidden_size=8, **settings
    )
    model = ImageTokenizer(config).eval()
    with torch.no_grad():
        for absent in model.decoder.absent:
            absent.normal_()
    model.start_codebooks(torch.rand(64, config.num_channels, 16, 16) * 2 - 1, seed=0)
    size, channels = {"height": 16, "width": 16}, config.num_channels
    processor = ImageTokenizerImageProcessorPil(size=size, num_channels=channels, do_pad=len(strides) == 2)
    return LoadedImageTokenizer(model, processor, "")


def exported(kinds: dict[str, dict[str, Any]], home: Path) -> dict[str, LoadedImageTokenizer]:
    """Writes each kind into a folder of its name, and loads it from there."""
    for name, settings in kinds.items():
        export_remote_code(tokenizer(**settings), home / name)
    return {name: load_image_tokenizer(home / name) for name in kinds}


def picture_files(home: Path) -> list[str]:
    """Pictures of several sizes and modes."""
    home.mkdir()
    generator = torch.Generator().manual_seed(3)
    for name, mode, shape in [("a", "RGB", (16, 16, 3)), ("b", "RGBA", (30, 20, 4)), ("c", "L", (12, 40))]:
        pixels = torch.randint(256, shape, generator=generator).to(torch.uint8).numpy()
        Image.fromarray(pixels).convert(mode).save(home / f"{name}.png")
    return sorted(map(str, home.iterdir()))


def measure(loaded: LoadedImageTokenizer, pictures: list[str]) -> dict[str, torch.Tensor]:
    here: dict[str, Any] = {}
    exec(MEASURE, here)
    return here["measure"](loaded.model, loaded.processor, [Image.open(path) for path in pictures])


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def in_stock_python(client: Client, packages: Path, **given: Any) -> str:
    done = client.process(StockPython.make(packages).command(STOCK, json.dumps(given)))
    assert done.returncode == 0, done.stderr
    return done.stdout


PUSH = """
import contextlib, io
from transformers import AutoConfig, AutoImageProcessor, AutoModel
from pictogram import __main__ as cli, load_image_tokenizer, push_image_tokenizer
from pictogram.tokenizer.fingerprints import decoder_fingerprint

out = io.StringIO()
sys.argv = ["pictogram", "push", given["folder"], "--repo", "alice/coded", "--remote-code", "--tag", "v1", "--json"]
with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
    cli.main()
answer["commit"] = json.loads(out.getvalue())["commit"]
answer["twice"] = push_image_tokenizer(given["folder"], "alice/coded", remote_code=True).commit

def said(loaded):
    return [loaded.codes_fingerprint, decoder_fingerprint(loaded.model)]

loaded = load_image_tokenizer("alice/coded")
answer["by name"] = said(loaded)
parts = [auto.from_pretrained("alice/coded") for auto in (AutoConfig, AutoModel, AutoImageProcessor)]
parts += [AutoModel.from_pretrained("alice/coded", trust_remote_code=True)]
answer["classes"] = [f"{type(part).__module__}.{type(part).__name__}" for part in parts]
answer["code ran"] = [name for name in sys.modules if name.startswith("transformers_modules")]

push_image_tokenizer(given["folder"], "alice/plain", remote_code=True, tag="v1")
push_image_tokenizer(loaded, "alice/plain", tag="v2")
push_image_tokenizer(loaded, "alice/again", remote_code=True)
answer["plain"] = said(load_image_tokenizer("alice/plain"))
"""


@dataclass(frozen=True)
class Found:
    """What the two processes found."""

    server: HubServer
    pushed: dict[str, Any]
    read: Path
    printed: str
    loaded: dict[str, LoadedImageTokenizer]
    pictures: list[str]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    home = tmp_path_factory.mktemp("remote-code")
    loaded, pictures = exported(KINDS, home / "folders"), picture_files(home / "pictures")
    with HubServer() as server:
        pusher, reader = (Client(server, home / name) for name in ("pusher", "reader"))
        pushed = pusher.run(PUSH, folder=str(tokenizer_folder()))
        reader.home.mkdir()
        Image.open(pictures[1]).save(reader.home / "picture.png")
        card = files_of(server, "model:alice/coded")["README.md"].decode()
        guide = (ROOT / "docs" / "tokenizer.md").read_text(encoding="utf-8").replace("owner/name", "alice/coded")
        examples = {"card": without_pictogram(card), "guide": without_pictogram(guide)}
        places = {name: (str(home / "folders" / name), {}) for name in KINDS}
        places |= {"name": ("alice/coded", {}), "revision": ("alice/plain", {"revision": "v1"})}
        given = {"places": places, "pictures": pictures, "examples": examples, "again": AGAIN}
        (home / "read").mkdir()
        printed = in_stock_python(reader, home / "packages", out=str(home / "read"), **given)
        yield Found(server, pushed, home / "read", printed, loaded, pictures)
        assert not server.errors


def without_pictogram(text: str) -> str:
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (example,) = (example for example in examples if "trust_remote_code" in example)
    return example


@pytest.mark.parametrize("name", KINDS)
def test_codes_and_pictures_from_a_folder(name, found):
    expected = measure(found.loaded[name], found.pictures)
    assert len(torch.unique(torch.cat([grid.flatten() for part, grid in expected.items() if "codes" in part]))) > 2
    assert same(load_file(found.read / f"{name}.safetensors"), expected)


@pytest.mark.parametrize("name", ["name", "revision"])
def test_codes_and_pictures_by_name(name, found):
    expected = measure(load_image_tokenizer(tokenizer_folder()), found.pictures)
    assert same(load_file(found.read / f"{name}.safetensors"), expected)


@pytest.mark.parametrize("name", AGAIN)
def test_what_is_saved_without_pictogram_opens_again_with_and_without(name, found):
    first = load_file(found.read / f"{name}.safetensors")
    assert same(load_file(found.read / f"{name}_again.safetensors"), first)
    again = load_image_tokenizer(found.read / f"{name}_again")
    assert same(measure(again, found.pictures), first)
    original = found.loaded.get(name) or load_image_tokenizer(tokenizer_folder())
    assert again.codes_fingerprint == original.codes_fingerprint


@pytest.mark.parametrize("name", ["card", "guide"])
def test_examples_run_without_pictogram(name, found):
    expected = measure(load_image_tokenizer(tokenizer_folder()), found.pictures[1:2])
    codes = {part: grid for part, grid in expected.items() if part.startswith("codes")}
    assert same(load_file(found.read / f"{name}.safetensors"), codes | {"pixels": expected["prefix_1"]})


def test_only_the_code_of_the_tokenizer_ran(found):
    modules = {module.rsplit(".", 1)[1] for module in found.printed.split()[1:] if ".pictogram_" in module}
    assert modules == {name.removesuffix(".py") for name in code_files(found.loaded["ema"].name)}


def test_pictogram_loads_it_by_its_own_code(found):
    here = load_image_tokenizer(tokenizer_folder())
    fingerprints = [here.codes_fingerprint, decoder_fingerprint(here.model)]
    assert found.pushed["by name"] == found.pushed["plain"] == fingerprints
    classes = ["config.ImageTokenizerConfig", "model.ImageTokenizer", "image_processor.ImageTokenizerImageProcessorPil"]
    assert found.pushed["classes"] == [f"pictogram.tokenizer.{name}" for name in [*classes, classes[1]]]
    assert found.pushed["code ran"] == []
    assert found.pushed["twice"] == found.pushed["commit"], "the same push twice changes nothing"


def test_what_is_on_the_server(found):
    names = {".gitattributes", "README.md", *TOKENIZER_FILES}  # the first is the server's own
    code = code_files(found.loaded["ema"].name)
    for repository, revision in [("coded", "main"), ("plain", "v1"), ("again", "main")]:
        files = files_of(found.server, f"model:alice/{repository}", revision)
        assert set(files) == names | code
        assert all("auto_map" in json.loads(files[name]) for name in ("config.json", "preprocessor_config.json"))
        assert b"- custom_code\n" in files["README.md"]
        for content in files.values():
            assert str(tokenizer_folder().parent).encode() not in content
    plain = files_of(found.server, "model:alice/plain", "v2")
    assert set(plain) == names, "code of an earlier push is gone"
    assert b"auto_map" not in plain["config.json"] + plain["preprocessor_config.json"]
    assert b"custom_code" not in plain["README.md"] and b"trust_remote_code" not in plain["README.md"]


@pytest.mark.slow
def test_every_quantizer_with_every_kind_of_levels_and_channels(tmp_path):
    loaded, pictures = exported(MATRIX, tmp_path / "folders"), picture_files(tmp_path / "pictures")
    (tmp_path / "read").mkdir()
    with HubServer() as server:
        places = {name: (str(tmp_path / "folders" / name), {}) for name in MATRIX}
        options = {"pictures": pictures, "examples": {}, "again": [*MATRIX], "out": str(tmp_path / "read")}
        in_stock_python(Client(server, tmp_path / "home"), tmp_path / "packages", places=places, **options)
    for name in MATRIX:
        assert same(load_file(tmp_path / "read" / f"{name}.safetensors"), measure(loaded[name], pictures)), name


def code_files(folder: str | Path) -> set[str]:
    return {path.name for pattern in CODE_PATTERNS for path in Path(folder).glob(pattern)}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_folder_that_it_is_made_from_stays_as_it_is(tmp_path):
    before = digests(tokenizer_folder())
    names = export_remote_code(tokenizer_folder(), tmp_path / "new" / "coded")
    assert digests(tokenizer_folder()) == before
    after = digests(tmp_path / "new" / "coded")
    assert set(after) == {*TOKENIZER_FILES, *names} and set(names) == code_files(tmp_path / "new" / "coded")
    assert after["model.safetensors"] == before["model.safetensors"]
    here, there = load_image_tokenizer(tokenizer_folder()), load_image_tokenizer(tmp_path / "new" / "coded")
    assert there.codes_fingerprint == here.codes_fingerprint
    assert decoder_fingerprint(there.model) == decoder_fingerprint(here.model)
    with pytest.raises(InputError, match="is the tokenizer's own folder, which stays as it is"):
        export_remote_code(tmp_path / "new" / "coded", tmp_path / "new" / "." / "coded")
    known = replace(there, provenance=provenance(there))
    assert export_remote_code(known, tmp_path / "third") == names
    assert load_image_tokenizer(tmp_path / "third").provenance == known.provenance


def test_the_code_is_all_there_and_needs_little(tmp_path):
    names = export_remote_code(tokenizer_folder(), tmp_path)
    needed = {"torch", "transformers", "huggingface_hub", "typing_extensions", "numpy", "PIL"}
    settings = [json.loads((tmp_path / name).read_text()) for name in ("config.json", "preprocessor_config.json")]
    auto_map = settings[0]["auto_map"] | settings[1]["auto_map"]
    assert set(auto_map) == {"AutoConfig", "AutoModel", "AutoImageProcessor"}
    followed = set()
    for reference in auto_map.values():
        module, name = reference.split(".")
        file = tmp_path / f"{module}.py"
        assert f"class {name}(" in file.read_text(encoding="utf-8")
        followed |= {file.name, *(Path(path).name for path in get_relative_import_files(file))}
    assert followed == set(names), "what transformers copies is what is there"
    for name in names:
        assert {package for package in get_imports(tmp_path / name) if package not in sys.stdlib_module_names} <= needed
        first, second = (tmp_path / name).read_text(encoding="utf-8").splitlines()[:2]
        module = re.fullmatch(r"# Generated by pictogram \S+ from (\S+)\. SPDX-License-Identifier: Apache-2\.0", first)
        assert module is not None and name == f"{module[1].replace('.', '_')}.py"
        source = (ROOT / module[1].split(".", 1)[1].replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        assert second == source.splitlines()[0]


def test_code_that_lies_there_is_never_run_by_pictogram(tmp_path):
    for name in export_remote_code(tokenizer_folder(), tmp_path):
        (tmp_path / name).write_text("raise RuntimeError('it ran')")
    assert type(load_image_tokenizer(tmp_path).model) is ImageTokenizer
    for options in ({}, {"trust_remote_code": False}, {"trust_remote_code": True}):
        assert type(AutoConfig.from_pretrained(tmp_path, **options)) is ImageTokenizerConfig
        assert type(AutoModel.from_pretrained(tmp_path, **options)) is ImageTokenizer
        assert type(AutoImageProcessor.from_pretrained(tmp_path, **options)) is ImageTokenizerImageProcessorPil


def test_no_source_trusts_code():
    for path in ROOT.glob("[hltp]*/*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if path.parent.name != "tests" and "trust_remote_code" in text else ():
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path


def test_names_of_code_are_no_settings(tmp_path):
    export_remote_code(tokenizer_folder(), tmp_path / "coded")
    loaded = load_image_tokenizer(tmp_path / "coded")
    assert not hasattr(loaded.model.config, "auto_map") and not hasattr(loaded.processor, "auto_map")
    loaded.model.save_pretrained(tmp_path / "saved")
    loaded.processor.save_pretrained(tmp_path / "saved")
    assert digests(tmp_path / "saved") == digests(tokenizer_folder())


def test_links_are_replaced_and_not_followed(tmp_path):
    for name in TOKENIZER_FILES:
        (tmp_path / name).symlink_to(tokenizer_folder() / name)
    before = digests(tokenizer_folder())
    add_remote_code(tmp_path)
    assert "auto_map" in (tmp_path / "config.json").read_text()
    (tmp_path / "other").mkdir()
    for name in TOKENIZER_FILES:
        (tmp_path / "other" / name).symlink_to(tmp_path / name)
    drop_remote_code(tmp_path / "other")
    assert "auto_map" in (tmp_path / "config.json").read_text()
    assert "auto_map" not in (tmp_path / "other" / "config.json").read_text()
    assert json.loads((tmp_path / "other" / "config.json").read_text()) == json.loads(
        (tokenizer_folder() / "config.json").read_text()
    )
    assert digests(tokenizer_folder()) == before


@pytest.mark.parametrize("layout", ["llamagen", "vqvae2"])
def test_another_system_s_tokenizer_is_refused(layout, tmp_path):
    model = adapted(layout)
    size = {"height": model.config.image_size, "width": model.config.image_size}
    loaded = LoadedImageTokenizer(model, ImageTokenizerImageProcessorPil(size=size), "theirs")
    with pytest.raises(InputError, match=f'theirs is of the layout "{layout}", which needs pictogram'):
        export_remote_code(loaded, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="nowhere is not an image tokenizer"):
        export_remote_code(tmp_path / "nowhere", tmp_path / "out")
