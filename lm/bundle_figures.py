"""The measured figures of a bundle as tables, from the files that an evaluation or a training left in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..hub.card import markdown_table, public_name
from ..hub.errors import InputError
from ..hub.files import read_json_object
from ..tokenizer.checkpoints import MetricsLog
from ..tokenizer.tokenizer_card import EVALUATION_NAME
from .vocabulary import JointVocabulary

_CODES = {
    "codes_given_caption": "codes of a picture, given its caption",
    "codes": "codes of a picture, alone",
    "told_by_caption": "what the caption told",
}
_CAPTIONS = {
    "caption_given_codes": "caption, given its picture",
    "caption": "caption, alone",
    "told_by_codes": "what the picture told",
}


def figure_paragraphs(folder: Path, vocabulary: JointVocabulary) -> list[str]:
    """Markdown paragraphs from `EVALUATION_NAME`, or else from the last line of `metrics.jsonl`; none without both.

    `EVALUATION_NAME` holds what `pictogram evaluate prior --json` printed, and may hold what others measured, under
    "figures", ready to print by name.

    Args:
        folder: of the bundle.
        vocabulary: of the bundle.

    Raises:
        InputError: the evaluation is of something else, or cannot be read.
    """
    path = folder / EVALUATION_NAME
    return _evaluated(path, vocabulary) if path.is_file() else _trained(folder / "metrics.jsonl")


def _evaluated(path: Path, vocabulary: JointVocabulary) -> list[str]:
    measured = read_json_object(path)
    figures = measured.get("figures", {})
    try:
        paragraphs = _rates(path, measured, vocabulary) if "rate" in measured else []
        if figures:
            paragraphs.append(markdown_table(["figure", "value"], list(figures.items())))
    except InputError:  # which is a ValueError
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not what `pictogram evaluate prior --json` prints: {error!r}") from None
    if not paragraphs:
        raise InputError(f'{path} is not what `pictogram evaluate prior --json` prints: it lacks "rate"')
    return paragraphs


def _rates(path: Path, measured: dict[str, Any], vocabulary: JointVocabulary) -> list[str]:
    """What codes and captions cost, each alone and given the other."""
    protocol, rate = measured["protocol"], measured["rate"]
    if protocol["codes_fingerprint"] != vocabulary.codes_fingerprint:
        raise InputError(f"{path} was measured on codes of another image tokenizer; measure again")
    where = f"{measured['num_images']} pictures of `{public_name(protocol['codes'])}`, split `{protocol['split']}`"
    levels = [f"level {level}" for level in range(vocabulary.num_levels)]
    codes = []
    for name, words in _CODES.items():
        bits = [*rate[name]["per_level"], rate[name]["per_image"]]
        codes.append([words, *(_estimate(value) for value in bits)])
    captions = [
        [words, *(_estimate(rate[name][unit]) for unit in ("per_caption", "per_byte"))]
        for name, words in _CAPTIONS.items()
    ]
    return [
        f"Bits among the legal ids on {where}, with 95 % intervals over pictures:",
        markdown_table(["mean bits of", *levels, "all levels"], codes),
        markdown_table(["mean bits of", "a caption", "a byte of it"], captions),
    ]


def _estimate(figure: dict[str, Any]) -> str:
    value, interval = figure["value"], figure["interval"]
    if value is None:
        return "-"
    return f"{value:.2f}" if interval is None else f"{value:.2f} ± {(interval[1] - interval[0]) / 2:.2f}"


def _trained(path: Path) -> list[str]:
    """What the training logged last, of documents it learned and, if it looked, of others."""
    lines = MetricsLog.read(path)
    if not lines:
        return []
    last = {name: f"{value:.4g}" for name, value in lines[-1].items() if isinstance(value, int | float)}
    steps = last.pop("step")
    names = dict.fromkeys(name.removeprefix("eval_") for name in last)
    rows = [[name.replace("_", " "), last.get(name, "-"), last.get(f"eval_{name}", "-")] for name in names]
    return [f"After {steps} steps:", markdown_table(["mean", "documents learned", "held out"], rows)]
