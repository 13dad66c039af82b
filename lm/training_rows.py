"""The rows that a prior's training learns and those that it only scores."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..hub.errors import InputError
from ..hub.fingerprint import fingerprint
from ..hub.provenance import data_entry, history, tokenizer_provenance_of
from ..tokenizer.codes_dataset import CodesDataset, load_codes
from ..tokenizer.codes_location import check_fingerprint, find_codes
from ..tokenizer.codes_manifest import CodesManifest
from ..tokenizer.codes_shards import CodesShards
from ..tokenizer.descent import check_codes
from ..tokenizer.loading import LoadedImageTokenizer, load_image_tokenizer
from .bundle import Bundle
from .code_documents import CodeRows
from .document_dataset import StoredDocuments, load_documents, text_sha256
from .training_config import PriorTrainingConfig
from .vocabulary import JointVocabulary


@dataclass(frozen=True)
class TrainingRows:
    """Codes and captions, or documents of them, and the image tokenizer that made the codes.

    Attributes:
        image_tokenizer: it.
        origin: the bundle that the training goes on from; None for a new prior.
        trained: rows that are learned.
        scored: rows that are not; None if there are none.
        content: fingerprint of the dataset that the learned rows are of.
        data: what `Provenance.data` says of the learned rows.
        earlier: trainings of the bundle that the training goes on from, see `Provenance.earlier`.
    """

    image_tokenizer: LoadedImageTokenizer
    origin: Bundle | None
    trained: CodeRows | StoredDocuments
    scored: CodeRows | StoredDocuments | None
    content: str
    data: dict[str, Any]
    earlier: list[dict[str, Any]] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        """What a resumed run must find again: the very rows it began with."""
        origin = {} if self.origin is None else {"from": fingerprint(self.origin.prior.state_dict(), {})[:16]}
        return origin | {
            "codes_fingerprint": self.image_tokenizer.codes_fingerprint,
            "rows": sum(self.trained.shard_sizes),
            "content": self.content,
        }


def open_rows(config: PriorTrainingConfig) -> TrainingRows:
    """Opens what `config` names.

    Raises:
        InputError: codes of another tokenizer, a missing split, pictures of several sizes, nothing left to learn or to
            score, or a provenance that is another model's.
    """
    origin = Bundle.from_pretrained(config.from_bundle) if config.from_bundle else None
    image_tokenizer = open_image_tokenizer(config.tokenizer) if origin is None else image_tokenizer_of(origin)
    earlier = [] if origin is None else history(origin.checked_provenance())
    opened = _open_documents if config.documents else _open_codes
    return replace(opened(config, origin, image_tokenizer), earlier=earlier)


def _open_codes(
    config: PriorTrainingConfig, origin: Bundle | None, image_tokenizer: LoadedImageTokenizer
) -> TrainingRows:
    trained = _open(config, config.split, image_tokenizer)
    scored = _open(config, config.eval_split, image_tokenizer) if config.eval_split else None
    content = content_fingerprint(trained.manifest, config.split)
    if config.holdout_share:
        assert isinstance(trained, CodesDataset)  # `PriorTrainingConfig` refuses streaming
        parts = trained.split_by_key({"train": 1 - config.holdout_share, "holdout": config.holdout_share})
        trained, scored = parts["train"], parts["holdout"]
        if not (len(trained) and len(scored)):
            raise InputError(
                f"holdout_share {config.holdout_share:g} leaves {len(trained)} rows to learn and {len(scored)} to "
                "score, expected at least one of each"
            )
    for rows in filter(None, (trained, scored)):
        _ = rows.shared_grids  # pictures of several sizes, or none at all, are refused before any work
    data = data_entry(config.codes, config.split, sum(trained.shard_sizes), content)
    return TrainingRows(image_tokenizer, origin, trained, scored, content, data)


def open_image_tokenizer(name: str) -> LoadedImageTokenizer:
    """Loads an image tokenizer, whose provenance what is trained with it will repeat.

    Raises:
        InputError: see `load_image_tokenizer`; or its provenance is another model's.
    """
    loaded = load_image_tokenizer(name)
    loaded.checked_provenance()
    return loaded


def image_tokenizer_of(bundle: Bundle) -> LoadedImageTokenizer:
    """The image tokenizer of a bundle that was loaded, under the name and with the provenance that the bundle knows.

    Raises:
        InputError: the provenance is another model's.
    """
    loaded = LoadedImageTokenizer(bundle.image_tokenizer, bundle.image_processor, bundle.name, bundle.revision)
    made = bundle.checked_provenance()
    if made is None or made.image_tokenizer is None:
        return loaded
    known = made.image_tokenizer
    its = tokenizer_provenance_of(made, bundle.name)
    if its is not None:
        its.check(bundle.name, loaded.fingerprints)
    return replace(loaded, name=known["name"], revision=known["revision"], provenance=its)


def _open_documents(
    config: PriorTrainingConfig, origin: Bundle | None, image_tokenizer: LoadedImageTokenizer
) -> TrainingRows:
    trained = load_documents(config.documents, config.split)
    scored = load_documents(config.documents, config.eval_split) if config.eval_split else None
    there, wanted = trained.vocabulary.codes_fingerprint, image_tokenizer.codes_fingerprint
    check_fingerprint(config.documents, there, wanted)
    if origin is not None:
        if _ids_of(origin.vocabulary) != _ids_of(trained.vocabulary):
            raise InputError(f"{config.documents} is not written in the vocabulary of {config.from_bundle}")
        if text_sha256(origin.text_tokenizer) != text_sha256(trained.text_tokenizer):
            raise InputError(f"{config.documents} is not written in the text tokenizer of {config.from_bundle}")
    content = trained.content[:16]
    data = data_entry(config.documents, config.split, sum(trained.shard_sizes), content)
    return TrainingRows(image_tokenizer, origin, trained, scored, content, data)


def _ids_of(vocabulary: JointVocabulary) -> JointVocabulary:
    """What ids mean: documents do not ask who draws their codes, nor whose files a bundle reads."""
    return replace(vocabulary, decoder_fingerprint="", ancestors=())


def content_fingerprint(manifest: CodesManifest, split: str) -> str:
    """Tells the rows of a split from others."""
    found = manifest.splits[split]
    # Folders made before the hashes of their files were kept are told apart by their counts.
    content = {"sha256": found.sha256} if found.sha256 else {"rows": found.rows, "num_shards": found.num_shards}
    return fingerprint({}, content)[:16]


def _open(config: PriorTrainingConfig, split: str, image_tokenizer: LoadedImageTokenizer) -> CodesDataset | CodesShards:
    if not config.streaming:
        return load_codes(config.codes, split, tokenizer=image_tokenizer)
    location = find_codes(config.codes)
    check_codes(location.name, location.manifest, image_tokenizer)
    if location.split(split).rows < 1:
        raise InputError(f"split {split} of {config.codes} has no rows")
    return CodesShards(location, split)
