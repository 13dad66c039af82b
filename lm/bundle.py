"""A bundle: one folder or repository with a prior, its vocabulary, and the image tokenizer whose codes it speaks.

The prior's own files lie at the root, so `AutoModelForCausalLM` and `AutoTokenizer` load it without pictogram.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedModel

from ..hub.errors import InputError, first_line
from ..hub.files import atomic_files, read_json_object
from ..hub.fingerprint import fingerprint
from ..hub.provenance import PROVENANCE_NAME, Provenance
from ..hub.repository import DownloadedRepository, PushedRepository, download_folder, is_hub_name
from ..hub.shipped import SHIPPED_MODELS, local_folder
from ..tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.interface import TokenizesImages
from ..tokenizer.loading import IMAGE_TOKENIZER, TOKENIZER_FILES, load_image_tokenizer
from .coding_prior import rope_theta
from .grammar import Grammar
from .joint_tokenizer import (
    TEXT_PATTERNS,
    AnyTextTokenizer,
    check_joint_tokenizer,
    load_text_tokenizer,
    save_joint_tokenizer,
    text_files,
)
from .static_chances import STATIC_CHANCES_FILE, StaticChances
from .text_tokenizer import TextTokenizer
from .vocabulary import VOCABULARY_FILE, JointVocabulary

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"model-[\w-]+\.safetensors")
_NEEDED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    VOCABULARY_FILE,
    *(f"{IMAGE_TOKENIZER}/{name}" for name in TOKENIZER_FILES),
)
_OPTIONAL = ("generation_config.json", STATIC_CHANCES_FILE, PROVENANCE_NAME)

BUNDLE_PATTERNS = (*_NEEDED, *TEXT_PATTERNS, *_OPTIONAL, _WEIGHTS, _INDEX, "model-*.safetensors")
"""Globs of all files that a bundle may have."""


@dataclass(frozen=True)
class Bundle:
    """A prior with everything needed to speak to it.

    Attributes:
        prior: a stock causal LM.
        vocabulary: the joint id space.
        text_tokenizer: captions to text ids.
        image_tokenizer: pictures to codes.
        image_processor: files to pixels.
        static_chances: counted tables of codes, for compression without the prior; None if there are none.
        name: what it was loaded by: a folder, or a name on the Hub; empty for a new one.
        revision: commit of the Hub's repository; None for a folder.
        provenance: how it came to be, as it was loaded; None if nobody wrote it down. A bundle that was made of another
            one by `dataclasses.replace` may have that one's.
    """

    prior: PreTrainedModel
    vocabulary: JointVocabulary
    text_tokenizer: AnyTextTokenizer
    image_tokenizer: TokenizesImages
    image_processor: ImageTokenizerImageProcessorPil
    static_chances: StaticChances | None = None
    name: str = ""
    revision: str | None = None
    provenance: Provenance | None = None

    @cached_property
    def grammar(self) -> Grammar:
        """The state machine of the vocabulary's documents."""
        return Grammar(self.vocabulary)

    @property
    def image_generation_config(self) -> GenerationConfig | None:
        """What the bundle says of how its pictures are drawn; None where it speaks of the text of an extended model."""
        is_own = isinstance(self.text_tokenizer, TextTokenizer)
        return getattr(self.prior, "generation_config", None) if is_own else None

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits: of the prior, its vocabulary, and through that of the image tokenizer.

        Equal ones mean equal chances for equal documents and equal pictures for equal codes. Compressed files and
        pictures name the bundle by it. It is computed once: weights that change later belong into a new `Bundle`.
        """
        # Named one by one: what another version adds to either must not make old files strangers.
        config, vocabulary = self.prior.config, self.vocabulary
        names = ("model_type", "num_attention_heads", "num_key_value_heads", "rms_norm_eps")
        settings = {name: getattr(config, name, None) for name in names} | {"rope_theta": rope_theta(config)}
        settings |= _rope_scaling(config)
        segments = [(each.kind, each.start, each.count, each.level, each.first_code) for each in vocabulary.segments]
        meaning = {"order": vocabulary.order, "sizes": vocabulary.sizes, "segments": segments}
        prints = [vocabulary.codes_fingerprint, vocabulary.decoder_fingerprint]
        return fingerprint(self.prior.state_dict(), settings | meaning | {"fingerprints": prints})

    def checked_provenance(self) -> Provenance | None:
        """Its provenance, for what is made of it.

        Raises:
            InputError: the provenance is another model's.
        """
        if self.provenance is not None:
            self.provenance.check(self.name, {"bundle": self.fingerprint})
        return self.provenance

    def to(self, device: str | torch.device) -> Bundle:
        """Moves both models to a device, in place."""
        self.prior.to(device)  # pyright: ignore[reportArgumentType]
        self.image_tokenizer.to(device)
        return self

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Writes the bundle's files into `directory`, which is created if missing.

        Its provenance goes along, unless it is that of another bundle, of which this one was made.

        Raises:
            InputError: the vocabulary was made for another image tokenizer.
        """
        self._check()
        with atomic_files(directory) as folder:
            self.prior.save_pretrained(folder)
            save_joint_tokenizer(self.text_tokenizer, self.vocabulary, folder)
            self.vocabulary.save(folder)
            if self.static_chances is not None:
                self.static_chances.save(folder)
            self.image_tokenizer.save_pretrained(folder / IMAGE_TOKENIZER)
            self.image_processor.save_pretrained(folder / IMAGE_TOKENIZER)
            if self.provenance is not None and self.provenance.fingerprints.get("bundle") == self.fingerprint:
                self.provenance.save(folder)
            else:  # that of a bundle that lay there
                (Path(directory) / PROVENANCE_NAME).unlink(missing_ok=True)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        revision: str | None = None,
        prior: PreTrainedModel | None = None,
        *,
        token: str | None = None,
    ) -> Bundle:
        """Loads a bundle from a folder or from the Hub, in evaluation mode.

        Args:
            name_or_path: a folder, "owner/name" of a model repository on the Hub, or the name of a shipped model, see
                `hub.shipped`. A folder of that name wins; whatever else looks like a path is never asked for on the
                Hub.
            revision: branch, tag or commit on the Hub; the main branch unless told.
            prior: a model that is loaded already, in the place of the bundle's own.
            token: of an account that may read it on the Hub; by default that of the login.

        Raises:
            InputError: a file is missing or damaged, the parts do not belong together, a revision is given for a
                folder, or the Hub does not give it, see `hub.client_errors`.
        """
        name = os.fspath(name_or_path)
        if is_hub_name(name_or_path):
            downloaded = _download(name, revision, token)
            return cls._load(downloaded.folder, name, downloaded.commit, prior)
        directory = local_folder(name)
        if not directory.is_dir():
            raise InputError(
                f"{name} is not a whole bundle: it is neither a folder nor a name on the Hub, owner/name, "
                f"nor a shipped model ({', '.join(SHIPPED_MODELS)})"
            )
        if revision is not None:
            raise InputError(f"a revision, {revision!r}, needs a name on the Hub, owner/name; got the folder {name}")
        return cls._load(directory, name, None, prior)

    def push_to_hub(self, repo_id: str, **options: Any) -> PushedRepository:
        """Puts the bundle on the Hub with a card.

        Args:
            repo_id: owner/name of a model repository, made if missing.
            options: see `bundle_push.push_bundle`, which also pushes a folder, with the figures that lie there.

        Raises:
            InputError: see `push_bundle`.
        """
        from .bundle_push import push_bundle  # it loads bundles itself

        return push_bundle(self, repo_id, **options)

    @classmethod
    def _load(cls, directory: Path, name: str, revision: str | None, prior: PreTrainedModel | None) -> Bundle:
        missing = [file for file in bundle_files(directory) if not (directory / file).is_file()]
        if missing:
            is_tokenizer = all((directory / file).is_file() for file in TOKENIZER_FILES)
            hint = "; it is an image tokenizer, which train-lm makes a bundle of" if is_tokenizer else ""
            raise InputError(f"{name} is not a whole bundle: it lacks {', '.join(missing)}{hint}")
        prior = _load_prior(directory, name) if prior is None else prior.eval()
        vocabulary = JointVocabulary.load(directory)
        text_tokenizer = load_text_tokenizer(vocabulary, directory)
        image = load_image_tokenizer(directory / IMAGE_TOKENIZER)
        tables = StaticChances.load(directory) if (directory / STATIC_CHANCES_FILE).is_file() else None
        made = Provenance.load(directory)
        bundle = cls(prior, vocabulary, text_tokenizer, image.model, image.processor, tables, name, revision, made)
        bundle._check()
        if made is not None:
            made.check(name, {"codes": vocabulary.codes_fingerprint})
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


def _rope_scaling(config: PreTrainedConfig) -> dict[str, Any]:
    """How rotary positions are stretched; nothing where they are not, as in bundles from before this was looked at."""
    rope = getattr(config, "rope_parameters", None) or {}
    return {} if rope.get("rope_type", "default") == "default" else {"rope_parameters": rope}


def bundle_files(directory: Path) -> list[str]:
    """Paths, inside a bundle's folder, of the files that it needs, there or not, and of optional ones that are there.

    Raises:
        InputError: the index of the weights is damaged.
    """
    optional = [name for name in _OPTIONAL if (directory / name).is_file()]
    return sorted([*_NEEDED, *optional, *text_files(directory), *_weight_files(directory)])


def _weight_files(directory: Path) -> list[str]:
    """The weights in one file, which wins, or their index and the shards that it names."""
    index = directory / _INDEX
    if (directory / _WEIGHTS).is_file() or not index.is_file():
        return [_WEIGHTS]
    shards = read_json_object(index).get("weight_map")
    # Other names could lead out of the folder.
    if not isinstance(shards, dict) or not all(_SHARD.fullmatch(str(name)) for name in shards.values()):
        raise InputError(f'{index} must have a "weight_map" from names of tensors to model-*.safetensors')
    return [_INDEX, *sorted(set(shards.values()))]


def holds_bundle(name: str) -> bool:
    """Whether a folder, or a repository on the Hub, is of a bundle and not of its image tokenizer alone.

    Raises:
        InputError: the Hub does not say, see `hub.client_errors`.
    """
    directory = local_folder(name)
    if is_hub_name(name):
        directory = download_folder(name, repo_type="model", allow_patterns=[VOCABULARY_FILE]).folder
    return (directory / VOCABULARY_FILE).is_file()


def _download(name: str, revision: str | None, token: str | None) -> DownloadedRepository:
    """The vocabulary comes first, so that a large model that is no bundle stays where it is."""
    start = download_folder(name, repo_type="model", revision=revision, allow_patterns=[VOCABULARY_FILE], token=token)
    if not (start.folder / VOCABULARY_FILE).is_file():
        raise InputError(f"{name} is not a whole bundle: it lacks {VOCABULARY_FILE}")
    return download_folder(name, repo_type="model", revision=start.commit, allow_patterns=BUNDLE_PATTERNS, token=token)


def _load_prior(directory: Path, name: str) -> PreTrainedModel:
    try:
        prior, report = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            directory, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:
        raise InputError(f"the prior in {name} cannot be loaded: {first_line(error)}") from error
    if report["missing_keys"]:  # transformers only warns, and draws them at random
        raise InputError(f"the prior in {name} lacks weights, such as {min(report['missing_keys'])}")
    if report["unexpected_keys"]:
        raise InputError(
            f"the prior in {name} has weights that its config.json has no use for, such as "
            f"{min(report['unexpected_keys'])}"
        )
    return prior.eval()
