"""What an adaptation changed, and proof of what it did not: rows, networks, pictures and bits, before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..hub.fingerprint import fingerprint
from .adaptation_config import FULL, GROW, LORA
from .code_statistics import entropy
from .distortion import DistortionMeter
from .interface import ImageCodes
from .model import ImageTokenizer
from .pixel_dataset import PixelDataset
from .reconstructions import reconstruct, row_batches
from .row_growth import LevelUse
from .trained_rows import row_distance

_RATE_TABLES = ("bias", "out.weight", "out.bias")
"""Tensors of a level's rate model that have a row for each code."""


@dataclass(frozen=True)
class LevelChange:
    """What became of one level's codebook.

    Attributes:
        codes_before: K.
        codes_after: K with the new rows.
        invoked: old rows that the new pictures use more than a threshold.
        grown: new rows.
        moved: old rows that are not what they were.
        mean_move: L2 distance that those moved, mean; None without any.
        row_distance: typical L2 distance between old rows, see `trained_rows.row_distance`.
        kept: old rows that were not to move.
        kept_sha256_before: over those rows.
        kept_sha256_after: over the same rows after.
        old_use_of_kept: share of the old pictures' cells that had one of them, 0..1.
        new_use_of_kept: the same of the new pictures.
        old_use_of_uninvoked: share of the old pictures' cells whose row the new pictures do not invoke.
        new_use_of_uninvoked: the same of the new pictures.
        same_codes: share of the old pictures' codes that come out again when they are encoded again.
    """

    codes_before: int
    codes_after: int
    invoked: int
    grown: int
    moved: int
    mean_move: float | None
    row_distance: float
    kept: int
    kept_sha256_before: str
    kept_sha256_after: str
    old_use_of_kept: float
    new_use_of_kept: float
    old_use_of_uninvoked: float
    new_use_of_uninvoked: float
    same_codes: float


@dataclass(frozen=True, eq=False)
class Measured:
    """How a tokenizer does on pictures.

    Attributes:
        psnr: dB, one a prefix of levels; None where it is not decoded, or perfect.
        static_bits: bits a picture and level under one histogram a level.
        codes: one int64 (N, h_l, w_l) a level.
    """

    psnr: list[float | None]
    static_bits: list[float]
    codes: ImageCodes


@dataclass(frozen=True)
class PicturesChange:
    """Figures of one set of pictures; `psnr` in dB, one a prefix of levels; `static_bits` a picture, one a level."""

    num_images: int
    psnr_before: list[float | None]
    psnr_after: list[float | None]
    static_bits_before: list[float]
    static_bits_after: list[float]

    @property
    def gain(self) -> float:
        """DB of all levels together; NaN where there is none, because pictures came back perfect."""
        before, after = self.psnr_before[-1], self.psnr_after[-1]
        return float("nan") if before is None or after is None else after - before


@dataclass(frozen=True)
class AdaptationReport:
    """An adaptation, measured.

    Attributes:
        mode: what moved.
        levels: coarse to fine.
        encoder_sha256_before: over all that decides codes beside the codebooks.
        encoder_sha256_after: the same after, without what belongs to new codes.
        decoder_sha256_before: over the decoder.
        decoder_sha256_after: after.
        numbers: parameters of the adapted tokenizer.
        numbers_trained: those that an optimizer or a running mean could move.
        numbers_changed: those that are new, or not what they were.
        new: the new pictures.
        old: the old pictures.
        old_codes_decode_alike: whether the codes that the old pictures had give bit-identical pictures now.
        ancestors: tokenizers whose files the adapted one reads as they did.
    """

    mode: str
    levels: list[LevelChange]
    encoder_sha256_before: str
    encoder_sha256_after: str
    decoder_sha256_before: str
    decoder_sha256_after: str
    numbers: int
    numbers_trained: int
    numbers_changed: int
    new: PicturesChange
    old: PicturesChange
    old_codes_decode_alike: bool
    ancestors: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"share_changed": self.numbers_changed / self.numbers}

    def broken_promises(self) -> list[str]:
        """What the mode promises to leave as it is, and did not; empty if all is well."""
        same = {
            "encoder": self.encoder_sha256_before == self.encoder_sha256_after,
            "decoder": self.decoder_sha256_before == self.decoder_sha256_after,
            "pictures of old codes": self.old_codes_decode_alike,
        } | {
            f"kept rows of level {number}": level.kept_sha256_before == level.kept_sha256_after
            for number, level in enumerate(self.levels)
        }
        free = {FULL: {*same}, LORA: {"decoder", "pictures of old codes"}, GROW: set()}
        return [
            name
            for name, holds in same.items()
            if not holds and name not in free.get(self.mode, {"pictures of old codes"})
        ]


@torch.no_grad()
def measure(model: ImageTokenizer, dataset: PixelDataset, progress: Callable[[int], None] | None = None) -> Measured:
    """Encodes and decodes all pictures of `dataset`, which are of one size."""
    distortion, parts = DistortionMeter(with_ssim=False), []
    for batch in reconstruct(model, dataset, progress=progress):
        distortion.add(batch)
        parts.append(batch.codes)
    codes = tuple(torch.cat(level) for level in zip(*parts, strict=True))
    sizes = model.config.codebook_sizes
    bits = [
        entropy(torch.bincount(level.flatten(), minlength=size)) * level[0].numel()
        for level, size in zip(codes, sizes, strict=True)
    ]
    return Measured(distortion.result().to_dict()["psnr"], bits, codes)


def pictures_change(before: Measured, after: Measured) -> PicturesChange:
    """The figures of one set side by side."""
    return PicturesChange(len(before.codes[0]), before.psnr, after.psnr, before.static_bits, after.static_bits)


def level_changes(
    before: ImageTokenizer,
    after: ImageTokenizer,
    uses: Sequence[LevelUse],
    learning: Sequence[torch.Tensor],
    codes: tuple[ImageCodes, ImageCodes],
) -> list[LevelChange]:
    """What became of the codebooks.

    Args:
        before: the tokenizer as it was.
        after: the adapted one.
        uses: of the rows, as they were.
        learning: (n,) int64 a level, rows that were to learn.
        codes: of the old pictures, before and after.
    """
    changes: list[LevelChange] = []
    for level, (use, rows) in enumerate(zip(uses, learning, strict=True)):
        old, new = before.code_vectors(level).cpu(), after.code_vectors(level).cpu()
        kept = torch.ones(len(old), dtype=torch.bool)
        kept[rows[rows < len(old)]] = False
        moves = (new[: len(old)] - old).norm(dim=1)
        moved = (new[: len(old)] != old).any(1)
        changes.append(
            LevelChange(
                codes_before=len(old),
                codes_after=len(new),
                invoked=int(use.invoked.sum()),
                grown=len(new) - len(old),
                moved=int(moved.sum()),
                mean_move=float(moves[moved].mean()) if moved.any() else None,
                row_distance=row_distance(old),
                kept=int(kept.sum()),
                kept_sha256_before=fingerprint({"rows": old[kept]}, {}),
                kept_sha256_after=fingerprint({"rows": new[: len(old)][kept]}, {}),
                old_use_of_kept=float(use.old[kept].sum()),
                new_use_of_kept=float(use.new[kept].sum()),
                old_use_of_uninvoked=float(use.old[~use.invoked].sum()),
                new_use_of_uninvoked=float(use.new[~use.invoked].sum()),
                same_codes=float((codes[0][level] == codes[1][level]).double().mean()),
            )
        )
    return changes


def network_sha256(model: ImageTokenizer, part: str, sizes: Sequence[int]) -> str:
    """Over the tensors of "encoder" or "decoder".

    Args:
        model: the tokenizer.
        part: "encoder" stands for all that decides codes beside the codebooks, so for the model of the rate, too.
        sizes: codes per level; what the model of the rate has for codes beyond does not count.
    """
    prefixes = ("encoder.", "rate_model.") if part == "encoder" else ("decoder.",)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(prefixes)}
    for level, size in enumerate(sizes):
        for table in _RATE_TABLES:
            if (name := f"rate_model.levels.{level}.{table}") in tensors:
                tensors[name] = tensors[name][:size]
    return fingerprint(tensors, {})


def numbers_changed(before: ImageTokenizer, after: ImageTokenizer) -> int:
    """Parameters of `after` that `before` does not have, or has with another value."""
    known = dict(before.named_parameters())
    count = 0
    for name, parameter in after.named_parameters():
        old = known[name].to(parameter.device)
        rows = parameter[: len(old)] if parameter.ndim else parameter
        count += parameter.numel() - old.numel() + int((rows != old).sum())
    return count


@torch.no_grad()
def decode_alike(before: ImageTokenizer, after: ImageTokenizer, codes: ImageCodes) -> bool:
    """Whether both tokenizers make the same pictures of the same codes, bit by bit."""
    for rows in row_batches(len(codes[0]), 64):
        part = [level[rows.start : rows.stop] for level in codes]
        pictures = [model.decode([each.to(model.device) for each in part]).cpu() for model in (before, after)]
        if not torch.equal(*pictures):
            return False
    return True
