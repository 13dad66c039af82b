"""Checks that wait for a GPU: `pytest -m gpu`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_chain
import torch

from pictogram.lm.bundle import Bundle
from pictogram.pipelines.text_to_image import TextToImagePipeline

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_codes_are_those_of_the_cpu():
    tokenizer = tiny_chain.image_tokenizer()
    pixel_values = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = tokenizer.encode(pixel_values)
    for level, on_cpu in zip(tokenizer.to("cuda").encode(pixel_values.cuda()), expected, strict=True):  # pyright: ignore
        assert torch.equal(level.cpu(), on_cpu)


def test_the_sampler_draws_the_tokens_of_the_cpu():
    def draw(device: str) -> torch.Tensor:
        bundle = Bundle.from_pretrained(tiny_chain.bundle_folder()).to(device)
        bundle.prior.double()  # in float64 rounding moves no draw
        output = TextToImagePipeline(bundle)(["red apple", "grinning face"], num_images=3, guidance_scale=1.5)
        return torch.cat([level.flatten(1).cpu() for level in output.codes], 1)

    assert torch.equal(draw("cuda"), draw("cpu"))


TRAINING = [
    "-m", "pictogram.lm.train", "--size", "pico", "--text-vocab-size", "290", "--num-steps", "12", "--batch-size", "8",
    "--warmup-steps", "2", "--checkpoint-every", "5", "--log-every", "1", "--trackers", "",
]  # fmt: skip
FSDP = [
    "--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP",
    "--fsdp_transformer_layer_cls_to_wrap", "Qwen3DecoderLayer", "--fsdp_state_dict_type", "SHARDED_STATE_DICT",
]  # fmt: skip


def trained(folder: Path, launcher: list[str], *options: str) -> list[float]:
    """The losses of a short training in a process of its own."""
    data = ["--codes", str(tiny_chain.codes_folder()), "--tokenizer", str(tiny_chain.tokenizer_folder())]
    command = [sys.executable, *launcher, *TRAINING, *data, "--output", str(folder), *options]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert Bundle.from_pretrained(folder).prior.num_parameters() > 0
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def on_several(*options: str) -> list[str]:
    count = min(torch.cuda.device_count(), 2)
    return ["-m", "accelerate.commands.launch", "--num_processes", str(count), *options]


def test_training_in_bf16_learns_what_float32_does(tmp_path):
    precise = trained(tmp_path / "precise", [], "--mixed-precision", "no")
    rough = trained(tmp_path / "rough", [], "--mixed-precision", "auto")
    assert rough[-1] == pytest.approx(precise[-1], rel=0.05)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_give_the_losses_of_one(tmp_path):
    one = trained(tmp_path / "one", [], "--mixed-precision", "no")
    two = trained(tmp_path / "two", on_several("--multi_gpu"), "--mixed-precision", "no")
    assert two == pytest.approx(one, abs=1e-3)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_sharded_training_gives_the_losses_of_one_and_is_saved_whole(tmp_path):
    one = trained(tmp_path / "one", [], "--mixed-precision", "no", "--optimizer", "adamw")
    sharded = trained(tmp_path / "sharded", on_several(*FSDP), "--mixed-precision", "no", "--optimizer", "adamw")
    assert sharded == pytest.approx(one, abs=1e-3)
