import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_adapters import SETTINGS, adapted, pixels
from transformers import (
    Emu3Config,
    Emu3ForConditionalGeneration,
    Emu3TextConfig,
    Emu3VQVAEConfig,
    JanusVQVAE,
    JanusVQVAEConfig,
)

from pictogram import __main__ as cli
from pictogram.hub.errors import InputError
from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.fingerprints import codes_fingerprint
from pictogram.tokenizer.import_tokenizer import import_tokenizer
from pictogram.tokenizer.interface import TokenizesImages
from pictogram.tokenizer.loading import load_image_tokenizer


def weights(layout: str) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors by the names of its own project."""
    network = adapted(layout).network
    return {name.removeprefix(network.wrapped_at): tensor for name, tensor in network.state_dict().items()}


def same(imported: TokenizesImages, layout: str) -> bool:
    assert isinstance(imported, AdaptedTokenizer)
    wanted, found = adapted(layout).state_dict(), imported.state_dict()
    return wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)


@pytest.mark.parametrize("layout", ["llamagen", "vqvae2"])
def test_a_state_dict_whose_shapes_tell_everything(layout, tmp_path):
    content = {f"module.{name}": tensor for name, tensor in weights(layout).items()}
    if layout == "llamagen":
        content["module.quantize.codebook_used"] = torch.zeros(65536)
    torch.save({"model": content}, tmp_path / "vq.pt")
    loaded = import_tokenizer(tmp_path / "vq.pt", layout, tmp_path / "out", image_size=32)
    assert same(loaded.model, layout)
    assert loaded.model.config.image_size == 32
    assert dict(loaded.processor.size) == {"height": 32, "width": 32}
    assert import_tokenizer(tmp_path / "vq.pt", layout, tmp_path / "256").model.config.image_size == 256


def test_half_precision_weights_become_float32(tmp_path):
    torch.save({name: tensor.bfloat16() for name, tensor in weights("vqvae2").items()}, tmp_path / "vq.pth")
    model = import_tokenizer(tmp_path / "vq.pth", "vqvae2", tmp_path / "out").model
    assert isinstance(model, AdaptedTokenizer)
    assert model.dtype == torch.float32
    kept = model.state_dict()["network.enc_b.blocks.0.weight"]
    assert torch.equal(kept, weights("vqvae2")["enc_b.blocks.0.weight"].bfloat16().float())


def test_a_vq_model_of_transformers(tmp_path):
    theirs = JanusVQVAE(JanusVQVAEConfig(**SETTINGS["janus"], num_patches=6))
    theirs.load_state_dict(weights("janus"))
    theirs.save_pretrained(tmp_path / "vq")
    loaded = import_tokenizer(tmp_path / "vq", "janus", tmp_path / "out")
    assert same(loaded.model, "janus")
    assert loaded.model.config.image_size == 24
    again = import_tokenizer(tmp_path / "vq" / "model.safetensors", "janus", tmp_path / "again")
    assert codes_fingerprint(again.model, again.processor) == codes_fingerprint(loaded.model, loaded.processor)


@pytest.fixture(scope="module")
def whole_emu3(tmp_path_factory):
    """A tiny Emu3 as transformers saves it, in shards, of which those without the VQ model are gone."""
    folder = tmp_path_factory.mktemp("emu3")
    text = Emu3TextConfig(
        vocab_size=1024, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    names = ["<image>", "<|extra_0|>", *(f"<|visual token {code:06d}|>" for code in range(16))]
    vocabulary = {name: index for index, name in enumerate(names)}
    config = Emu3Config(vq_config=Emu3VQVAEConfig(**SETTINGS["emu3"]), text_config=text, vocabulary_map=vocabulary)
    model = Emu3ForConditionalGeneration(config)
    model.model.vqmodel.load_state_dict(weights("emu3"))
    model.save_pretrained(folder, max_shard_size="40KB")
    places = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    needed = {file for name, file in places.items() if "vqmodel." in name}
    assert set(places.values()) - needed, "no shard is the language model's alone"
    for file in set(places.values()) - needed:
        (folder / file).unlink()
    return folder


def test_the_vq_part_alone_out_of_a_sharded_model(whole_emu3, tmp_path):
    model = import_tokenizer(whole_emu3, "emu3", tmp_path / "out", image_size=16).model
    assert isinstance(model, AdaptedTokenizer)
    assert same(model, "emu3")
    assert model.config.pixel_mean == [0.5]
    stored = sum(tensor.numel() for tensor in load_file(tmp_path / "out" / "model.safetensors").values())
    assert stored == sum(tensor.numel() for tensor in adapted("emu3").state_dict().values())


def test_the_pixels_of_the_image_processor_beside_it(whole_emu3, tmp_path):
    processor = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "rescale_factor": 1 / 255}
    (whole_emu3 / "preprocessor_config.json").write_text(json.dumps(processor))
    try:
        model = import_tokenizer(whole_emu3, "emu3", tmp_path / "out", image_size=16).model
    finally:
        (whole_emu3 / "preprocessor_config.json").unlink()
    assert isinstance(model, AdaptedTokenizer)
    assert model.config.pixel_mean == pytest.approx([0.48, 0.46, 0.41])
    assert model.config.pixel_std == pytest.approx([0.27, 0.26, 0.28])


def test_a_folder_for_output(tmp_path):
    torch.save(weights("vqvae2"), tmp_path / "vq.pt")
    output = tmp_path / "out"
    first = import_tokenizer(tmp_path / "vq.pt", "vqvae2", output)
    assert sorted(path.name for path in output.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    second = import_tokenizer(tmp_path / "vq.pt", "vqvae2", output, image_size=64)
    assert all(map(torch.equal, second.model.encode(pixels()), first.model.encode(pixels())))
    assert load_image_tokenizer(output).model.config.image_size == 64
    (output / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt, which is no part of an image tokenizer"):
        import_tokenizer(tmp_path / "vq.pt", "vqvae2", output)
    with pytest.raises(InputError, match="it is a file"):
        import_tokenizer(tmp_path / "vq.pt", "vqvae2", output / "notes.txt")


def test_killed_while_another_tokenizer_is_replaced(tmp_path, monkeypatch):
    torch.save(weights("vqvae2"), tmp_path / "vq.pt")
    import_tokenizer(tmp_path / "vq.pt", "vqvae2", tmp_path / "out")

    def dies(source, target):
        if str(target).endswith("model.safetensors"):
            raise KeyboardInterrupt
        Path(source).rename(target)

    monkeypatch.setattr("pictogram.hub.files.os.replace", dies)
    with pytest.raises(KeyboardInterrupt):
        import_tokenizer(tmp_path / "vq.pt", "vqvae2", tmp_path / "out", image_size=64)
    with pytest.raises(InputError, match=r"lacks model\.safetensors"):
        load_image_tokenizer(tmp_path / "out")


def refused(tmp_path, content, layout, **options) -> str:
    torch.save(content, tmp_path / "vq.pt")
    with pytest.raises(InputError) as raised:
        import_tokenizer(tmp_path / "vq.pt", layout, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists(), "nothing is left behind"
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_weights_that_do_not_fit(tmp_path):
    content = weights("vqvae2")
    assert "layout must be one of" in refused(tmp_path, content, "vqgan")
    assert "quantize.embedding.weight, got 0" in refused(tmp_path, content, "llamagen")
    assert "not of layout llamagen" in refused(tmp_path, {"quantize.embedding.weight": torch.zeros(4, 2)}, "llamagen")
    lost = {name: tensor for name, tensor in content.items() if name != "dec.blocks.3.bias"}
    assert "dec.blocks.3.bias is missing (1 such" in refused(tmp_path, lost, "vqvae2")
    more = content | {"dec.blocks.9.bias": torch.zeros(1)}
    assert "dec.blocks.9.bias is left over (1 such" in refused(tmp_path, more, "vqvae2")
    wider = content | {"dec.blocks.0.bias": torch.zeros(9)}
    assert "dec.blocks.0.bias is (9,), expected (8,)" in refused(tmp_path, wider, "vqvae2")
    assert "multiples of 8 pixels" in refused(tmp_path, content, "vqvae2", image_size=20)


def test_settings_that_shapes_do_not_tell_come_from_a_configuration(tmp_path):
    assert "config.json is missing: the weights of layout janus" in refused(tmp_path, weights("janus"), "janus")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "emu3_vqgan"}))
    assert "must be of layout janus, got model type 'emu3_vqgan'" in refused(tmp_path, weights("janus"), "janus")
    (tmp_path / "config.json").write_text(json.dumps({"vq_config": SETTINGS["janus"] | {"base_channels": 40}}))
    assert "describes no network: num_channels" in refused(tmp_path, weights("janus"), "janus")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], "config.json must hold a JSON object, got list"),
        ({"vq_config": "x"}, "must have an object as vq_config, got 'x'"),
        ({"model_type": 3}, "must be of layout janus, got model type 3"),
        ({"num_patches": "16"}, "setting num_patches must be a positive integer, got '16'"),
        ({"channel_multiplier": []}, "setting channel_multiplier must be positive integers"),
        ({"channel_multiplier": "1, 2"}, "setting channel_multiplier must be like"),
    ],
)
def test_a_damaged_configuration(content, expected, tmp_path):
    content = {"vq_config": SETTINGS["janus"] | content} if "num_patches" in content else content
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert expected in refused(tmp_path, weights("janus"), "janus")


def test_what_a_configuration_leaves_open_is_the_default(tmp_path):
    settings = SETTINGS["janus"] | {"model_type": None, "num_patches": None}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    torch.save(weights("janus"), tmp_path / "vq.pt")
    model = import_tokenizer(tmp_path / "vq.pt", "janus", tmp_path / "out").model
    assert same(model, "janus")
    assert model.config.image_size == JanusVQVAEConfig().num_patches * model.config.strides[0]


@pytest.mark.parametrize("content", [[], {}, {"weight_map": None}, {"weight_map": []}, {"weight_map": {"a": 1}}])
def test_a_damaged_index(content, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"must (hold a JSON object|have a \"weight_map\")"):
        import_tokenizer(tmp_path, "vqvae2", tmp_path / "out")


@pytest.mark.parametrize(
    "content", [[], {"image_mean": 0.5, "image_std": [1]}, {"image_mean": ["a"], "image_std": [1]}]
)
def test_a_damaged_image_processor(content, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS["emu3"]))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    assert "preprocessor_config.json must h" in refused(tmp_path, weights("emu3"), "emu3")


def test_command(tmp_path, monkeypatch, capfd):
    save_file({name: tensor.contiguous() for name, tensor in weights("vqvae2").items()}, tmp_path / "vq.safetensors")
    monkeypatch.chdir(tmp_path)
    arguments = ["--source", "vq.safetensors", "--layout", "vqvae2", "--image-size", "16", "--json"]
    monkeypatch.setattr(sys, "argv", ["pictogram", "import-tokenizer", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    printed = json.loads(capfd.readouterr().out)
    assert (printed["strides"], printed["codebook_sizes"], printed["image_size"]) == ([8, 4], [16, 16], 16)
    assert load_image_tokenizer("image-tokenizer").model.config.image_size == 16
    monkeypatch.setattr(sys, "argv", ["pictogram", "import-tokenizer", "--source", "nowhere.pt"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "nowhere.pt does not exist" in capfd.readouterr().err
