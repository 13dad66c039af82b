"""A bundle: one folder with a prior, its vocabulary, and the image tokenizer whose codes it speaks.

The prior's own files lie at the root, so `AutoModelForCausalLM` and `AutoTokenizer` load it without pictogram.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from ..hub.errors import InputError, first_line
from ..hub.files import atomic_files
from ..tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.interface import TokenizesImages
from ..tokenizer.loading import load_image_tokenizer
from .grammar import Grammar
from .joint_tokenizer import check_joint_tokenizer, save_joint_tokenizer
from .text_tokenizer import TextTokenizer
from .vocabulary import JointVocabulary

IMAGE_TOKENIZER = "image_tokenizer"
"""Folder of the image tokenizer inside a bundle."""

_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocabulary.json",
)


@dataclass(frozen=True)
class Bundle:
    """A prior with everything needed to speak to it.

    Attributes:
        prior: a stock causal LM.
        vocabulary: the joint id space.
        text_tokenizer: captions to text ids.
        image_tokenizer: pictures to codes.
        image_processor: files to pixels.
    """

    prior: PreTrainedModel
    vocabulary: JointVocabulary
    text_tokenizer: TextTokenizer
    image_tokenizer: TokenizesImages
    image_processor: ImageTokenizerImageProcessorPil

    @cached_property
    def grammar(self) -> Grammar:
        """The state machine of the vocabulary's documents."""
        return Grammar(self.vocabulary)

    def to(self, device: str | torch.device) -> Bundle:
        """Moves both models to a device, in place."""
        self.prior.to(device)  # pyright: ignore[reportArgumentType]
        self.image_tokenizer.to(device)
        return self

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Writes the bundle's files into `directory`, which is created if missing.

        Raises:
            InputError: the vocabulary was made for another image tokenizer.
        """
        self._check()
        with atomic_files(directory) as folder:
            self.prior.save_pretrained(folder)
            save_joint_tokenizer(self.text_tokenizer, self.vocabulary, folder)
            self.vocabulary.save(folder)
            self.image_tokenizer.save_pretrained(folder / IMAGE_TOKENIZER)
            self.image_processor.save_pretrained(folder / IMAGE_TOKENIZER)

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str]) -> Bundle:
        """Loads a bundle from a folder, in evaluation mode.

        Raises:
            InputError: a file is missing or damaged, or the parts do not belong together.
        """
        directory = Path(directory)
        missing = sorted(_missing_files(directory))
        if missing:
            what = "is not a folder" if not directory.is_dir() else f"lacks {', '.join(missing)}"
            raise InputError(f"{directory} is not a whole bundle: it {what}")
        try:
            prior, report = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                directory, local_files_only=True, output_loading_info=True
            )
        except Exception as error:
            raise InputError(f"the prior in {directory} cannot be loaded: {first_line(error)}") from error
        if report["missing_keys"]:  # transformers only warns, and draws them at random
            raise InputError(f"the prior in {directory} lacks weights, such as {min(report['missing_keys'])}")
        loaded = load_image_tokenizer(directory / IMAGE_TOKENIZER)
        text_tokenizer = TextTokenizer((directory / "tokenizer.model").read_bytes())
        vocabulary = JointVocabulary.load(directory)
        bundle = cls(prior.eval(), vocabulary, text_tokenizer, loaded.model, loaded.processor)
        bundle._check()
        check_joint_tokenizer(text_tokenizer, vocabulary, directory)
        return bundle

    def _check(self) -> None:
        """Parts that do not belong together would draw wrong pictures without a word."""
        embeddings = self.prior.config.vocab_size
        if embeddings != self.vocabulary.vocab_size:
            raise InputError(f"the prior has {embeddings} tokens, but the vocabulary {self.vocabulary.vocab_size}")
        pieces, text_ids = self.text_tokenizer.vocab_size, len(self.vocabulary.text_range)
        if pieces != text_ids:
            raise InputError(f"the text tokenizer has {pieces} pieces, but the vocabulary {text_ids} text ids")
        codes = codes_fingerprint(self.image_tokenizer, self.image_processor)
        if self.vocabulary.codes_fingerprint != codes:
            raise InputError(
                f"the prior was trained on codes {self.vocabulary.codes_fingerprint[:12]}..., "
                f"but this image tokenizer gives {codes[:12]}...: they do not belong together"
            )
        pictures = decoder_fingerprint(self.image_tokenizer)
        if self.vocabulary.decoder_fingerprint != pictures:
            raise InputError(
                f"the bundle names decoder {self.vocabulary.decoder_fingerprint[:12]}..., but holds {pictures[:12]}..."
            )


def _missing_files(directory: Path) -> Iterator[str]:
    for name in _FILES:
        sharded = name == "model.safetensors" and (directory / "model.safetensors.index.json").exists()
        if not sharded and not (directory / name).is_file():
            yield name
    if not (directory / IMAGE_TOKENIZER).is_dir():
        yield f"{IMAGE_TOKENIZER}/"
