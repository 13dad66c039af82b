import argparse
import json

import pytest
import torch
from safetensors.torch import save_file

from pictogram.hub.errors import InputError
from pictogram.tokenizer.foreign_weights import read_network

ANCHOR = "quantize.embedding.weight"
NETWORK = {ANCHOR: torch.arange(6.0).view(3, 2), "encoder.conv_in.bias": torch.ones(2)}


def named(start: str) -> dict[str, torch.Tensor]:
    return {start + name: tensor.clone() for name, tensor in NETWORK.items()}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == NETWORK.keys() and all(torch.equal(found[name], NETWORK[name]) for name in NETWORK)


@pytest.mark.parametrize("start", ["", "module.", "model.vqmodel.", "gen_vision_model."])
def test_one_file_of_safetensors(start, tmp_path):
    others = {"lm_head.weight": torch.zeros(2)} if start else {}
    save_file(named(start) | others, tmp_path / "model.safetensors")
    assert same(read_network(tmp_path, ANCHOR))
    assert same(read_network(tmp_path / "model.safetensors", ANCHOR))


def shards(folder, *, start="model.vqmodel."):
    """Three shards: the language model's alone, a mixed one, the network's alone."""
    first, second = named(start).items()
    contents = {
        "model-1.safetensors": {"model.layers.0.weight": torch.zeros(4)},
        "model-2.safetensors": {"lm_head.weight": torch.zeros(4), first[0]: first[1]},
        "model-3.safetensors": dict([second]),
    }
    for file, tensors in contents.items():
        save_file(tensors, folder / file)
    places = {name: file for file, tensors in contents.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def test_shards_of_other_parts_are_not_even_opened(tmp_path):
    shards(tmp_path)
    (tmp_path / "model-1.safetensors").unlink()
    assert same(read_network(tmp_path, ANCHOR))


def test_a_shard_that_is_missing_or_damaged(tmp_path):
    shards(tmp_path)
    (tmp_path / "model-3.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"model-3\.safetensors is damaged"):
        read_network(tmp_path, ANCHOR)
    (tmp_path / "model-3.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-3\.safetensors is missing"):
        read_network(tmp_path, ANCHOR)


def test_a_shard_without_what_its_index_names(tmp_path):
    shards(tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / "model-3.safetensors")
    with pytest.raises(InputError, match=r"lacks model\.vqmodel\.encoder\.conv_in\.bias, which its index names"):
        read_network(tmp_path, ANCHOR)


@pytest.mark.parametrize(
    "content",
    [
        named(""),
        named("module."),
        {"model": named("module."), "optimizer": {"state": {}}, "args": argparse.Namespace(lr=0.1), "epoch": 3},
        {"state_dict": named("")},
        {"model": {name: tensor * 0 for name, tensor in named("").items()}, "ema": named("")},
    ],
    ids=["plain", "module", "training script", "state_dict", "averaged"],
)
def test_pickled_state_dicts(content, tmp_path):
    torch.save(content, tmp_path / "weights.pt")
    assert same(read_network(tmp_path / "weights.pt", ANCHOR))


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_that_would_run_code_does_not(tmp_path, capfd):
    torch.save({"model": named(""), "surprise": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="cannot be read as tensors alone") as raised:
        read_network(tmp_path / "weights.pth", ANCHOR)
    assert "\n" not in str(raised.value)
    assert "run" not in capfd.readouterr().out


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_network(tmp_path / "nowhere.pt", ANCHOR)
    with pytest.raises(InputError, match="holds neither"):
        read_network(tmp_path, ANCHOR)
    (tmp_path / "weights.txt").write_text("words")
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        read_network(tmp_path / "weights.txt", ANCHOR)
    (tmp_path / "weights.pt").write_bytes(b"words")
    with pytest.raises(InputError, match="cannot be read as tensors"):
        read_network(tmp_path / "weights.pt", ANCHOR)
    (tmp_path / "weights.pt").write_bytes(b"junk" * 100)  # which the unpickler looks up as a number
    with pytest.raises(InputError, match="cannot be read as tensors"):
        read_network(tmp_path / "weights.pt", ANCHOR)
    torch.save({1: torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="must hold tensors by their names, got 1"):
        read_network(tmp_path / "weights.pt", ANCHOR)
    torch.save([1, 2], tmp_path / "weights.pt")
    with pytest.raises(InputError, match="must hold a state dict, got list"):
        read_network(tmp_path / "weights.pt", ANCHOR)


@pytest.mark.parametrize(("tensors", "count"), [({"other": torch.zeros(1)}, 0), (named("a.") | named("b."), 2)])
def test_no_network_or_several(tensors, count, tmp_path):
    torch.save(tensors, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=f"one network with a tensor {ANCHOR}, got {count}"):
        read_network(tmp_path / "weights.pt", ANCHOR)
