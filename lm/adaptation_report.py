"""What an adaptation changed, what it provably did not, and what it costs: the content of `adaptation.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from ..hub.fingerprint import fingerprint
from ..tokenizer.batches import permutation
from ..tokenizer.codes_dataset import CodesDataset
from ..tokenizer.progress import progress_bar
from .ancestor_bundle import cut_bundle
from .bundle import Bundle
from .documents import images_to_ids, unconditional
from .moved_rows import table_names
from .rate import Rate, measure_rate


@dataclass(frozen=True)
class Fingerprints:
    """sha256 of parts of a prior.

    Attributes:
        kept_rows: the rows of embeddings and output layer of all ids that may not move.
        trunk: everything else.
    """

    kept_rows: str
    trunk: str

    @classmethod
    def of(cls, prior: PreTrainedModel, kept_ids: Sequence[int]) -> Fingerprints:
        """Of a prior.

        Args:
            prior: a causal LM.
            kept_ids: of the rows that may not move.
        """
        tables, ids = table_names(prior), torch.tensor(kept_ids, dtype=torch.int64)
        parameters = {name: parameter.detach().cpu() for name, parameter in prior.named_parameters()}
        rows = {name: parameters.pop(name)[ids] for name in tables}
        return cls(fingerprint(rows, {}), fingerprint(parameters, {}))


def adaptation_report(
    before: Bundle, start: Bundle, after: Bundle, moved_ids: Sequence[int], *, moves_trunk: bool
) -> dict[str, Any]:
    """What changed in the prior.

    Args:
        before: the bundle as it was.
        start: grown, not trained.
        after: grown and trained.
        moved_ids: whose rows were free to move.
        moves_trunk: whether adapters were.

    Raises:
        RuntimeError: something moved that may not, which is a bug.
    """
    kept = sorted({*range(before.vocabulary.vocab_size)} - {*moved_ids})
    was, now = Fingerprints.of(before.prior, kept), Fingerprints.of(after.prior, kept)
    if was.kept_rows != now.kept_rows or (was.trunk != now.trunk and not moves_trunk):
        raise RuntimeError(f"weights moved that must not: sha256 {was} became {now}")
    levels = zip(before.vocabulary.codebook_sizes, after.vocabulary.codebook_sizes, strict=True)
    return {
        "rows_appended": [new - old for old, new in levels],
        "rows_moved": len(moved_ids),
        "rows_kept": len(kept),
        "sha256": {
            name: {"before": getattr(was, name), "after": getattr(now, name)} for name in ("kept_rows", "trunk")
        },
        "parameters": _changed_parameters(start.prior, after.prior),
        "ancestors": [ancestor.to_json() for ancestor in after.vocabulary.ancestors],
        "lost_tables": before.static_chances is not None,
    }


def rates_of_new_pictures(start: Bundle, after: Bundle, codes: CodesDataset, most: int) -> dict[str, Any]:
    """Bits per picture of the grown tokenizer's codes, before and after the training.

    Args:
        start: grown, not trained.
        after: grown and trained.
        codes: of the grown tokenizer.
        most: pictures that are measured.
    """
    return _compared({"before": start, "after": after}, codes, most)


def rates_of_old_pictures(before: Bundle, after: Bundle, codes: CodesDataset, most: int) -> dict[str, Any]:
    """Bits per picture of the ancestor's codes: under the old prior and under the new one.

    The new prior chooses among all of its codes, or among those of the ancestor alone, as in reading its files.

    Args:
        before: the ancestor.
        after: grown and trained.
        codes: of the ancestor.
        most: pictures that are measured.
    """
    restricted = cut_bundle(after, before.vocabulary.vocab_size)
    return _compared({"before": before, "after": after, "after_restricted": restricted}, codes, most)


def image_rate(bundle: Bundle, codes: CodesDataset, rows: Sequence[int]) -> Rate:
    """Code lengths of pictures without words.

    Args:
        bundle: reads the codes.
        codes: pictures of one size.
        rows: of the pictures; at least one.
    """
    size = bundle.vocabulary.size_of(codes.shared_grids)
    images = images_to_ids(bundle.vocabulary, codes.codes(rows))
    documents = [unconditional(bundle.vocabulary, ids, size) for ids in images]
    return measure_rate(bundle.prior, bundle.grammar, documents)


def _compared(bundles: Mapping[str, Bundle], codes: CodesDataset, most: int) -> dict[str, Any]:
    """The rates of the same pictures under several bundles, and how each differs from the first."""
    rows = sorted(permutation(len(codes), 0, 0)[:most].tolist())
    rates: dict[str, Rate] = {}
    with progress_bar("rates", len(bundles)) as advance:
        for name, bundle in bundles.items():
            rates[name] = image_rate(bundle, codes, rows)
            advance(1)
    reference, *others = rates
    first = rates[reference].image_bits
    return {
        "split": codes.split,
        "images": len(rows),
        "bits_per_image": {name: rate.image_bits for name, rate in rates.items()},
        "level_bits": {name: rate.level_bits for name, rate in rates.items()},
        "relative_change": {name: rates[name].image_bits / first - 1 if first else None for name in others},
    }


def _changed_parameters(start: PreTrainedModel, after: PreTrainedModel) -> dict[str, Any]:
    """Numbers of the grown prior that the training changed, and their share of all."""
    trained = dict(after.named_parameters())
    changed = sum(int((trained[name].cpu() != tensor.cpu()).sum()) for name, tensor in start.named_parameters())
    total = sum(tensor.numel() for tensor in trained.values())
    return {"total": total, "changed": changed, "changed_share": changed / total}
