"""Loading an image tokenizer together with its image processor, from a folder or from the Hub."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ..hub.errors import InputError, first_line
from ..hub.files import read_json
from ..hub.fingerprint import fingerprint
from ..hub.provenance import PROVENANCE_NAME, Provenance, history, tokenizer_provenance_of
from ..hub.repository import download_folder, is_hub_name
from ..hub.shipped import shipped_folder
from .adapter import AdaptedTokenizer
from .adapter_config import AdaptedTokenizerConfig
from .fingerprints import codes_fingerprint, decoder_fingerprint
from .image_processor import ImageTokenizerImageProcessorPil
from .interface import TokenizesImages
from .model import ImageTokenizer

IMAGE_TOKENIZER = "image_tokenizer"
"""Folder of the image tokenizer inside a bundle."""

TOKENIZER_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
"""The files of an image tokenizer's folder. `PROVENANCE_NAME` may lie beside them."""

_PATTERNS = (*TOKENIZER_FILES, PROVENANCE_NAME)


@dataclass(frozen=True)
class LoadedImageTokenizer:
    """An image tokenizer in evaluation mode, and the processor that makes its pixels.

    Attributes:
        model: the tokenizer.
        processor: its image processor.
        name: what it was loaded by: a folder, or a name on the Hub.
        revision: commit of the Hub's repository; None for a folder.
        provenance: how it came to be; None if nobody wrote it down.
    """

    model: TokenizesImages
    processor: ImageTokenizerImageProcessorPil
    name: str
    revision: str | None = None
    provenance: Provenance | None = None

    @property
    def codes_fingerprint(self) -> str:
        """See `fingerprints.codes_fingerprint`."""
        return codes_fingerprint(self.model, self.processor)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of codes and decoder."""
        return {"codes": self.codes_fingerprint, "decoder": decoder_fingerprint(self.model)}

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits: of codes and decoder together."""
        return fingerprint({}, self.fingerprints)

    def checked_provenance(self) -> Provenance | None:
        """Its provenance, for what is made of it.

        Raises:
            InputError: the provenance is another model's.
        """
        if self.provenance is not None:
            self.provenance.check(self.name, self.fingerprints)
        return self.provenance

    def history(self) -> list[dict[str, Any]]:
        """Its trainings, for the provenance of one that goes on from it; see `hub.provenance.history`.

        Raises:
            InputError: see `checked_provenance`.
        """
        return history(self.checked_provenance())


def load_image_tokenizer(
    name_or_path: str | os.PathLike[str], revision: str | None = None, *, token: str | None = None
) -> LoadedImageTokenizer:
    """Loads both from a folder that `train-tokenizer`, `import-tokenizer` or `save_pretrained` wrote, or from the Hub.

    Args:
        name_or_path: a folder, "owner/name" of a model repository on the Hub, or the name of a shipped bundle, see
            `hub.shipped`. A folder of that name wins; whatever else looks like a path is never asked for on the Hub.
        revision: branch, tag or commit on the Hub; the main branch unless told.
        token: of an account that may read it; by default that of the login.

    Raises:
        InputError: a file is missing or damaged, a revision is given for a folder, or the Hub does not give it, see
            `hub.client_errors`.
    """
    name = os.fspath(name_or_path)
    if is_hub_name(name_or_path):
        downloaded = download_folder(name, repo_type="model", revision=revision, allow_patterns=_PATTERNS, token=token)
        return _load(downloaded.folder, name, downloaded.commit)
    if revision is not None:
        raise InputError(f"a revision, {revision!r}, needs a name on the Hub, owner/name; got the folder {name}")
    shipped = shipped_folder(name)
    return _load(Path(name).expanduser() if shipped is None else shipped / IMAGE_TOKENIZER, name, None)


def with_processor(
    tokenizer: TokenizesImages | LoadedImageTokenizer, processor: ImageTokenizerImageProcessorPil | None = None
) -> LoadedImageTokenizer:
    """An image tokenizer together with its processor, which by default lies where the tokenizer was loaded from.

    Raises:
        InputError: it was not loaded from anywhere, and no processor is given.
    """
    if isinstance(tokenizer, LoadedImageTokenizer):
        return tokenizer if processor is None else replace(tokenizer, processor=processor)
    name = tokenizer.name_or_path or ""
    if processor is None and not name:
        raise InputError("a tokenizer that was not loaded from a folder is checked with its processor: pass processor=")
    return LoadedImageTokenizer(tokenizer, processor or ImageTokenizerImageProcessorPil.from_pretrained(name), name)


def _load(directory: Path, name: str, revision: str | None) -> LoadedImageTokenizer:
    missing = [file for file in TOKENIZER_FILES if not (directory / file).is_file()]
    if missing:
        # On the Hub the cache makes no folder for nothing.
        what = f"lacks {', '.join(missing)}" if directory.is_dir() or revision else "is not a folder"
        is_bundle = (directory / IMAGE_TOKENIZER / TOKENIZER_FILES[0]).is_file()
        hint = f"; it is a bundle, whose image tokenizer is {name}/{IMAGE_TOKENIZER}" if is_bundle else ""
        raise InputError(f"{name} is not an image tokenizer: it {what}{hint}")
    try:
        loaded = _model_class(directory).from_pretrained(directory, local_files_only=True, output_loading_info=True)
        model, report = cast(tuple[ImageTokenizer | AdaptedTokenizer, dict[str, Any]], loaded)
        processor = ImageTokenizerImageProcessorPil.from_pretrained(directory, local_files_only=True)
    except Exception as error:
        raise InputError(f"the image tokenizer in {name} cannot be loaded: {first_line(error)}") from error
    # transformers only warns of these and draws missing weights at random.
    wrong = sorted({*report["missing_keys"], *report["unexpected_keys"]})
    if wrong:
        raise InputError(
            f"{name}/model.safetensors does not fit its config.json: {len(wrong)} tensors, {wrong[0]} first"
        )
    return LoadedImageTokenizer(model.eval(), processor, name, revision, _provenance(directory))


def _provenance(directory: Path) -> Provenance | None:
    """What lies beside the tokenizer or, where that is in a bundle, what the bundle says of it."""
    found, folder = Provenance.load(directory), directory.absolute()
    if found is not None or folder.name != IMAGE_TOKENIZER:
        return found
    around = Provenance.load(folder.parent)
    return around and tokenizer_provenance_of(around, str(folder.parent / PROVENANCE_NAME))


def _model_class(directory: Path) -> type[ImageTokenizer] | type[AdaptedTokenizer]:
    """By the model type in config.json; a file that names none is left to our own tokenizer's checks."""
    config = read_json(directory / "config.json")
    is_adapted = isinstance(config, dict) and config.get("model_type") == AdaptedTokenizerConfig.model_type
    return AdaptedTokenizer if is_adapted else ImageTokenizer
