"""A whole chain at tiny sizes, made once per test session: pictures, image tokenizer, codes, bundle."""

import atexit
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from PIL import Image
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from pictogram.hub.fingerprint import fingerprint
from pictogram.lm.bundle import Bundle
from pictogram.lm.grammar import Grammar
from pictogram.lm.text_tokenizer import TextTokenizer, train_text_tokenizer
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.model import ImageTokenizer

CAPTIONS = [
    "red apple",
    "green pear",
    "blue plum",
    "grinning face",
    "sad face",
    "",
    "日本の旗",
    "a <bos> </image> <|0:00001|>",
]
NUM_PICTURES = 16
GRIDS = ((1, 1), (2, 2))


@functools.cache
def home() -> Path:
    """A folder that is removed when the tests end."""
    path = Path(tempfile.mkdtemp(prefix="tiny-chain-"))
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(path, ignore_errors=True))
    return path


@functools.cache
def pictures() -> Path:
    """A folder with 16 pictures of 16x16 pixels, each of another colour, and their captions."""
    folder = home() / "pictures"
    folder.mkdir()
    lines = []
    for index in range(NUM_PICTURES):
        colour = (index * 16, 255 - index * 16, index * 97 % 256)
        image = Image.new("RGB", (16, 16), colour)
        image.paste((255, 255, 255), (0, 0, 8, index % 8 + 1))
        image.save(folder / f"{index:02d}.png")
        lines.append({"file_name": f"{index:02d}.png", "caption": CAPTIONS[index % len(CAPTIONS)]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def image_tokenizer(seed: int = 0) -> ImageTokenizer:
    """Untrained: 1 + 4 codes a picture of 16x16 pixels, codebooks of 6 and 9 codes."""
    torch.manual_seed(seed)
    config = ImageTokenizerConfig(
        image_size=16,
        strides=["image", 8],
        codebook_sizes=[6, 9],
        codebook_dim=4,
        patch_size=8,
        hidden_size=8,
        num_blocks=1,
    )
    model = ImageTokenizer(config).eval()
    model.start_codebooks(torch.rand(64, 3, 16, 16) * 2 - 1, seed=seed)
    return model


def processor() -> ImageTokenizerImageProcessorPil:
    return ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16})


@functools.cache
def tokenizer_folder(seed: int = 0) -> Path:
    folder = home() / f"image-tokenizer-{seed}"
    image_tokenizer(seed).save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


@functools.cache
def codes_folder() -> Path:
    """Codes of `pictures`, by the tokenizer of seed 0."""
    folder = home() / "codes"
    tokenize(TokenizeConfig(data=str(pictures()), model=str(tokenizer_folder()), output=str(folder), rows_per_shard=10))
    return folder


@functools.cache
def text_tokenizer() -> TextTokenizer:
    return TextTokenizer(train_text_tokenizer(CAPTIONS * 3, 290))


def prior(vocabulary: JointVocabulary, *, seed: int = 0, max_length: int = 64) -> PreTrainedModel:
    """A random Qwen3 with wide logits, so that its distributions are far from uniform, that loves control tokens."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocabulary.vocab_size,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=max_length,
        initializer_range=0.4,
        tie_word_embeddings=False,
        pad_token_id=vocabulary.pad_id,
        bos_token_id=vocabulary.bos_id,
        eos_token_id=vocabulary.eos_id,
    )
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        head = output_weights(model)
        head[: len(vocabulary.text_range)] *= 0.3
        head[list(vocabulary.control_ids.values())] *= 3
    return model


def output_weights(model: PreTrainedModel) -> torch.Tensor:
    """(vocab_size, width) of the output layer."""
    head = model.get_output_embeddings()
    assert head is not None and isinstance(head.weight, torch.Tensor)
    return head.weight


def bundle(order: str = "level", *, max_length: int = 64) -> Bundle:
    """An untrained bundle."""
    tokenizer, text = image_tokenizer(), text_tokenizer()
    vocabulary = JointVocabulary.from_scratch(
        text.vocab_size,
        [6, 9],
        [GRIDS],
        order,
        codes_fingerprint=codes_fingerprint(tokenizer, processor()),
        decoder_fingerprint=decoder_fingerprint(tokenizer),
    )
    return Bundle(prior(vocabulary, max_length=max_length), vocabulary, text, tokenizer, processor())


@functools.cache
def bundle_folder(order: str = "level") -> Path:
    folder = home() / f"bundle-{order}"
    bundle(order).save_pretrained(folder)
    return folder


@functools.cache
def shared_bundle(order: str = "level") -> Bundle:
    """One bundle for tests that only read it."""
    return bundle(order)


def grammar(order: str = "level") -> Grammar:
    return shared_bundle(order).grammar


def weights_fingerprint(model: PreTrainedModel) -> str:
    return fingerprint(model.state_dict(), {})
