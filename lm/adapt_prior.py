"""Adapting a prior to a grown image tokenizer: new codes gain rows that learn, all else stays bit for bit.

pictogram adapt-prior --from bundle --tokenizer grown-tokenizer --codes new-codes --reference-codes codes
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..hub.command_line import command, run_command
from ..hub.files import read_json, write_json
from ..hub.fingerprint import fingerprint
from ..hub.provenance import data_entry, history
from ..tokenizer.checkpoints import TrainingFolder
from ..tokenizer.codes_dataset import CodesDataset, load_codes
from ..tokenizer.loading import LoadedImageTokenizer
from .adaptation_config import PriorAdaptationConfig
from .adaptation_report import adaptation_report, rates_of_new_pictures, rates_of_old_pictures
from .adapters import add_lora
from .ancestor_bundle import ancestor_bundle
from .bundle import Bundle
from .code_documents import CodeRows
from .grow import grow_bundle, new_ids
from .mixed_rows import mix_rows
from .moved_rows import MovedRows
from .train import train_from
from .training_rows import TrainingRows, content_fingerprint, open_image_tokenizer
from .training_start import PriorStart, new_start

REPORT_FILE = "adaptation.json"

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class AdaptationStart(PriorStart):
    """A grown bundle of which some rows are to move.

    Attributes:
        moved_ids: whose rows.
        keeps_ancestor: whether what is trained still holds the bundle before, see `PriorAdaptationConfig`.
    """

    moved_ids: tuple[int, ...]
    keeps_ancestor: bool

    def model(self) -> nn.Module:
        """See `PriorStart`."""
        prior = self._first_prior()
        if self.config.lora_rank:
            return add_lora(prior, self.vocabulary, self.config.lora_rank, self.moved_ids)
        return MovedRows(prior, self.moved_ids)

    def stock(self, trained: nn.Module) -> PreTrainedModel:
        """See `PriorStart`; in the number type of the bundle before, in which old rows keep their bits."""
        assert self.origin is not None
        prior = trained.merged() if isinstance(trained, MovedRows) else super().stock(trained)
        stock = copy.deepcopy(self.origin.prior)
        stock.load_state_dict(prior.state_dict())
        return stock

    def bundle(self, prior: PreTrainedModel) -> Bundle:
        """See `PriorStart`; with its ancestors, where they are still there.

        Raises:
            InputError: an ancestor that the bundle names has changed.
        """
        bundle = super().bundle(prior)
        if self.keeps_ancestor:
            bundle = replace(bundle, vocabulary=self.vocabulary)
            for ancestor in self.vocabulary.ancestors:
                ancestor_bundle(bundle, ancestor)
        return bundle


@dataclass(frozen=True, eq=False)
class _Parts:
    """What an adaptation opens.

    Attributes:
        image_tokenizer: the grown one.
        before: the bundle.
        grown: with rows for the new codes, not trained.
        codes: of the new pictures, to train on.
        scored: of the new pictures, to score in the end.
        reference: codes of old pictures; None if there are none.
        scored_reference: of old pictures, to score in the end.
        moved_ids: whose rows may move, ascending.
    """

    image_tokenizer: LoadedImageTokenizer
    before: Bundle
    grown: Bundle
    codes: CodesDataset
    scored: CodesDataset
    reference: CodesDataset | None
    scored_reference: CodesDataset | None
    moved_ids: tuple[int, ...]

    @classmethod
    def open(cls, config: PriorAdaptationConfig) -> _Parts:
        before, image = Bundle.from_pretrained(config.from_bundle), open_image_tokenizer(config.tokenizer)
        grown = grow_bundle(before, image)
        codes = load_codes(config.codes, config.split, tokenizer=image)
        scored = load_codes(config.codes, config.eval_split, tokenizer=image) if config.eval_split else codes
        reference = scored_reference = None
        if config.reference_codes:
            old = LoadedImageTokenizer(before.image_tokenizer, before.image_processor, before.name)
            reference = scored_reference = load_codes(config.reference_codes, config.reference_split, tokenizer=old)
            if config.reference_eval_split:
                scored_reference = load_codes(config.reference_codes, config.reference_eval_split, tokenizer=old)
        moved = new_ids(grown, before)
        if config.moved_rows == "invoked":
            moved = sorted({*moved, *invoked_ids(grown, codes)})
        return cls(image, before, grown, codes, scored, reference, scored_reference, tuple(moved))

    def rows(self, config: PriorAdaptationConfig) -> TrainingRows:
        """What is learned, and what is scored on the way."""
        trained: CodeRows = self.codes
        contents = [content_fingerprint(each.manifest, each.split) for each in (self.codes, self.reference) if each]
        data = data_entry(config.codes, config.split, len(self.codes), contents[0])
        if self.reference is not None and config.reference_share:
            trained = mix_rows(self.codes, self.reference, config.reference_share)
            again = (config.reference_codes, config.reference_split, len(self.reference), contents[1])
            data["replayed"] = data_entry(*again)
        scored = self.scored if config.eval_split else None
        content = fingerprint({}, {"contents": contents})[:16]
        earlier = history(self.before.checked_provenance())
        return TrainingRows(self.image_tokenizer, self.grown, trained, scored, content, data, earlier)


def adapt_prior(config: PriorAdaptationConfig) -> Bundle:
    """Grows a bundle, trains the rows of its new codes and saves it; goes on from the last checkpoint.

    With it comes `adaptation.json`: rows appended and moved, sha256 of what did not move, and rates before and after.

    Raises:
        InputError: an image tokenizer that does not descend from the bundle's, codes of another tokenizer, unusable
            settings, or an output folder of another run.
    """
    parts = _Parts.open(config)
    rows = parts.rows(config)
    folder = TrainingFolder(config.output, config.settings() | rows.settings())
    if not folder.is_complete:
        plain = new_start(config.training(), rows)
        fields = {name: getattr(plain, name) for name in PriorStart.__dataclass_fields__}
        start = AdaptationStart(**fields, moved_ids=parts.moved_ids, keeps_ancestor=config.keeps_ancestor)
        train_from(start, rows, folder, lambda bundle: _write_report(config, parts, bundle))
    return Bundle.from_pretrained(config.output)


def invoked_ids(bundle: Bundle, codes: CodesDataset) -> list[int]:
    """The ids of all codes that occur in a dataset, ascending."""
    found = [torch.zeros(size, dtype=torch.bool) for size in bundle.vocabulary.codebook_sizes]
    for first in range(0, len(codes), _ROWS_AT_ONCE):
        part = codes.codes(range(first, min(first + _ROWS_AT_ONCE, len(codes))))
        for level, seen in zip(part, found, strict=True):
            seen[level.flatten()] = True
    ids = [bundle.vocabulary.level_ids(level)[seen] for level, seen in enumerate(found)]
    return sorted(torch.cat(ids).tolist())


def _write_report(config: PriorAdaptationConfig, parts: _Parts, after: Bundle) -> None:
    moves_trunk = config.lora_rank > 0
    report = adaptation_report(parts.before, parts.grown, after, parts.moved_ids, moves_trunk=moves_trunk)
    report["rate"] = {"new_pictures": rates_of_new_pictures(parts.grown, after, parts.scored, config.rate_images)}
    if (old := parts.scored_reference) is not None:
        report["rate"]["old_pictures"] = rates_of_old_pictures(parts.before, after, old, config.rate_images)
    write_json(Path(config.output) / REPORT_FILE, report)


def run_adaptation(config: PriorAdaptationConfig) -> dict[str, Any]:
    """Adapts, and returns what the command prints."""
    adapt_prior(config)
    return {"bundle": config.output, **read_json(Path(config.output) / REPORT_FILE)}


def summarise(result: dict[str, Any]) -> dict[str, Any]:
    """What people see of it."""
    shown = {name: result[name] for name in ("bundle", "rows_appended", "rows_moved", "rows_kept")}
    shown["changed_share"] = result["parameters"]["changed_share"]
    for name, rates in result["rate"].items():
        shown |= {f"bits of {name.replace('_', ' ')}, {when.replace('_', ', ')}": round(bits, 2)
                  for when, bits in rates["bits_per_image"].items()}  # fmt: skip
    shown["reads files of"] = ", ".join(each["model_id"] for each in result["ancestors"]) or "itself alone"
    if result["lost_tables"]:
        shown["note"] = "files that the old bundle wrote with --static need its own tables"
    return shown


main = command(
    PriorAdaptationConfig,
    run_adaptation,
    "adapt-prior",
    """Grow a bundle with its image tokenizer and train the rows of the new codes alone; old files stay readable.

    Example: pictogram adapt-prior --from bundle --tokenizer grown-tokenizer --codes new-codes --reference-codes codes
    """,
    summarise=summarise,
)

if __name__ == "__main__":
    run_command(main)
