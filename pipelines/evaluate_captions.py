"""How often the most likely caption of held-out codes is the true one, letter by letter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from ..hub.errors import InputError
from ..hub.files import check_new_file, write_json
from ..lm.bundle import Bundle
from ..lm.documents import image_to_text_prompt, images_to_ids
from ..lm.estimates import estimate, share
from ..lm.image_bits import DOCUMENT_KINDS, measure_images
from ..lm.sampler import SamplingConfig, sample
from ..tokenizer.codes_dataset import CodesDataset
from ..tokenizer.progress import progress_bar
from ..tokenizer.reconstructions import row_batches
from .bundle_pipeline import check_positive
from .evaluation_input import EvaluationInput

_NUM_EXAMPLES = 10


def evaluate_captions(
    model: str,
    codes: str,
    split: str,
    *,
    max_images: int | None = None,
    batch_size: int = 50,
    output: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Writes captions for the pictures of a split, greedily, and compares them with their own.

    Args:
        model: the bundle, see `Bundle.from_pretrained`.
        codes: the dataset of codes, see `load_codes`.
        split: the pictures. Those whose first caption is empty or too long for the prior's context are left out.
        max_images: most pictures to take, drawn by a fixed seed; None takes all.
        batch_size: captions at a time.
        output: a JSON file for what is returned.

    Returns:
        `num_images`; `exact_match`, the share of captions that equal one of their picture's, with Wilson's 95 %
        interval; `caption_given_codes`, the bits of the true captions, see `CaptionRate`; `examples`, the first ones;
        `protocol`.

    Raises:
        InputError: no picture has a caption; see also `load_codes`.
    """
    check_positive("batch_size", batch_size)
    if output is not None:
        check_new_file(output)
    given = EvaluationInput.open(model, codes, split, max_images)
    bundle, dataset, rows = given.bundle, given.codes, given.rows
    with progress_bar("documents", len(DOCUMENT_KINDS) * len(rows)) as advance:
        bits = measure_images(bundle, dataset, rows, progress=advance)
    rows = [row for row, is_missing in zip(rows, bits.caption_bytes.isnan().tolist(), strict=True) if not is_missing]
    if not rows:
        raise InputError(f"split {split} has no captions to compare with")
    written = _write_all(bundle, dataset, rows, batch_size)
    true = [dataset.captions(row) for row in rows]
    hits = sum(text in texts for text, texts in zip(written, true, strict=True))
    examples = zip(rows[:_NUM_EXAMPLES], true, written, strict=False)
    result = {
        "num_images": len(rows),
        "exact_match": share(hits, len(rows)).to_dict(),
        "caption_given_codes": {
            "per_caption": estimate(bits.caption_given_codes).to_dict(),
            "per_byte": estimate(bits.caption_given_codes, bits.caption_bytes).to_dict(),
        },
        "examples": [{"key": dataset.keys[row], "true": texts[0], "written": text} for row, texts, text in examples],
        "protocol": given.protocol,
    }
    if output is not None:
        write_json(output, result)
    return result


def _write_all(bundle: Bundle, codes: CodesDataset, rows: list[int], batch_size: int) -> list[str]:
    # One piece more than the longest true caption: who goes on longer than that is wrong anyway.
    texts = {text for row in rows for text in codes.captions(row)}
    longest = max(len(bundle.text_tokenizer.encode(text)) for text in texts)
    prompt = sum(height * width for height, width in codes.shared_grids) + 3  # <bos> <image> </image>
    max_new_tokens = min(longest + 1, bundle.prior.config.max_position_embeddings - prompt)
    written: list[str] = []
    with progress_bar("captions", len(rows)) as advance:
        for places in row_batches(len(rows), batch_size):
            written += write_captions(bundle, codes, [rows[place] for place in places], max_new_tokens)
            advance(len(places))
    return written


def write_captions(bundle: Bundle, codes: CodesDataset, rows: Sequence[int], max_new_tokens: int) -> list[str]:
    """The most likely piece each time, until the caption ends or has `max_new_tokens` pieces.

    Args:
        bundle: in evaluation mode.
        codes: pictures of one size.
        rows: of the pictures.
        max_new_tokens: longest caption, text pieces.
    """
    vocabulary = bundle.vocabulary
    size = vocabulary.size_of(codes.shared_grids)
    prompts = [image_to_text_prompt(vocabulary, ids, size) for ids in images_to_ids(vocabulary, codes.codes(rows))]
    # The grammar would let another picture follow. A caption is text and its end.
    pictures = [vocabulary.null_id, *map(vocabulary.image_start_id, vocabulary.sizes)]
    samples = sample(
        bundle.prior,
        bundle.grammar,
        prompts,
        torch.zeros(len(rows), max_new_tokens, dtype=torch.float64),  # temperature 0 draws nothing
        SamplingConfig(temperature=0),
        stop=lambda id_: id_ == vocabulary.eos_id,
        exclude=pictures,
    )
    return [bundle.text_tokenizer.decode(ids) for ids in samples.token_ids]
