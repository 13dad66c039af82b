"""Trained here, pushed by the command, loaded elsewhere by name: codes, pictures and fingerprints are the same."""

from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from tiny_chain import pictures
from tiny_hub import Client, files_of

from pictogram.lm.train import train_prior
from pictogram.lm.training_config import PriorTrainingConfig
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.train import train_tokenizer
from pictogram.tokenizer.training_config import TokenizerTrainingConfig

PUSH = """
import contextlib, io
from pictogram import __main__ as cli

for folder, name, options in given["pushes"]:
    sys.argv = ["pictogram", "push", folder, "--repo", name, "--tag", "v1", *options]
    with contextlib.suppress(SystemExit):
        cli.main()
"""

LOOK = """
import hashlib, pathlib
from PIL import Image
from pictogram import ImageToTextPipeline, TextToImagePipeline, load_codes, load_image_tokenizer
from pictogram.tokenizer.fingerprints import decoder_fingerprint

names = given["names"]
loaded = load_image_tokenizer(names["tokenizer"])
images = [Image.open(path).convert("RGB") for path in sorted(pathlib.Path(given["pictures"]).glob("*.png"))]
pixel_values = loaded.processor(images, return_tensors="pt")["pixel_values"]
answer["encoded"] = [level.tolist() for level in loaded.model.encode(pixel_values)]

codes = load_codes(names["codes"], tokenizer=loaded)
answer["keys"], answer["captions"] = codes.keys, codes.captions_of(range(len(codes)))
answer["codes"] = [level.tolist() for level in codes.codes(range(len(codes)))]
answer["decoded"] = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in codes.decode(range(4), loaded)]

draw = TextToImagePipeline.from_pretrained(names["bundle"], device="cpu")
drawn = draw(["red apple", ""], num_images=2, seed=3)
answer["samples"] = [picture.tobytes().hex() for picture in drawn.images]
describe = ImageToTextPipeline.from_pretrained(names["bundle"], device="cpu")
answer["described"] = describe(images[:2], max_new_tokens=4).captions

vocabulary = draw.bundle.vocabulary
fingerprints = [loaded.codes_fingerprint, decoder_fingerprint(loaded.model)]
answer["fingerprints"] = fingerprints
answer["belong together"] = fingerprints == [vocabulary.codes_fingerprint, vocabulary.decoder_fingerprint] == [
    codes.manifest.codes_fingerprint, codes.manifest.decoder_fingerprint
]
answer["revisions"] = [loaded.revision, codes.revision, draw.bundle.revision]
"""


def train(home: Path) -> dict[str, str]:
    """A tokenizer, codes and a bundle, each of a training of some steps; their folders."""
    folders = {name: str(home / name) for name in ("tokenizer", "codes", "bundle")}
    train_tokenizer(
        TokenizerTrainingConfig(
            output=folders["tokenizer"], data=str(pictures()), image_size=16, strides="image,8", codebook_sizes="6,9",
            codebook_dim=4, patch_size=8, hidden_size=8, num_blocks=1, num_steps=6, batch_size=8,
        )
    )  # fmt: skip
    tokenize(
        TokenizeConfig(data=str(pictures()), model=folders["tokenizer"], output=folders["codes"], rows_per_shard=10)
    )
    train_prior(
        PriorTrainingConfig(
            codes=folders["codes"], tokenizer=folders["tokenizer"], output=folders["bundle"], size="pico",
            text_vocab_size=300, num_steps=4, batch_size=4,
        )
    )  # fmt: skip
    return folders


def look(names: dict[str, str]) -> dict[str, Any]:
    """What `LOOK` finds in this process."""
    scope: dict[str, Any] = {"given": {"names": names, "pictures": str(pictures())}, "answer": {}}
    exec(compile(LOOK, "look", "exec"), scope)
    return scope["answer"]


@pytest.mark.slow
@pytest.mark.parametrize("xet", [False, True], ids=["lfs", "xet"])
def test_what_was_trained_here_is_the_same_elsewhere(xet, tmp_path):
    folders = train(tmp_path)
    here = look(folders)
    assert here["belong together"] and here.pop("revisions") == [None] * 3
    names = {name: f"alice/{name}" for name in folders}
    options = {"codes": ["--tokenizer", names["tokenizer"]]}
    with HubServer() as server:
        pusher, reader = (Client(server, tmp_path / name, xet=xet) for name in ("pusher", "reader"))
        pusher.run(PUSH, pushes=[[folders[name], names[name], options.get(name, [])] for name in folders])
        there = reader.run(LOOK, names=names, pictures=str(pictures()))
        kinds = (("model", "tokenizer"), ("dataset", "codes"), ("model", "bundle"))
        here["revisions"] = [server.store.repos[f"{kind}:alice/{name}"]["tags"]["v1"]["commit"] for kind, name in kinds]
        assert there == here
        assert "examples.png" in files_of(server, "dataset:alice/codes"), "the tokenizer came from the Hub"
        asked = len(server.requests)
        offline = reader.run(LOOK, offline=True, token=None, names=names, pictures=str(pictures()))
        assert len(server.requests) == asked
        assert offline == here
        assert not server.errors
