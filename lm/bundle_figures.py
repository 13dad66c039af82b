"""The measured figures of a bundle for its card: tables, and what the Hub lists beside the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..hub.card import markdown_table, public_name
from ..hub.card_figures import CardFigures, Figure
from ..hub.errors import InputError
from ..hub.evaluations import FOLDER, read_evaluations
from ..tokenizer.checkpoints import MetricsLog
from ..tokenizer.loading import IMAGE_TOKENIZER, LoadedImageTokenizer
from ..tokenizer.tokenizer_figures import tokenizer_figures
from .bundle import Bundle

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


def bundle_figures(folder: Path, bundle: Bundle) -> CardFigures:
    """Figures of what `pictogram evaluate ... --card` kept, or else the last line of the training's `metrics.jsonl`.

    Args:
        folder: of the bundle.
        bundle: what lies there.

    Raises:
        InputError: another bundle was measured, or a file is not what such a command writes.
    """
    found = CardFigures()
    evaluations = read_evaluations(folder, bundle.fingerprint)
    for kind, read in _READERS.items():
        if kind in evaluations:
            try:
                found += read(evaluations[kind])
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                path = folder / FOLDER / f"{kind}.json"
                raise InputError(f"{path} is not what `pictogram evaluate --card` writes: {error!r}") from None
    if not evaluations:
        found += CardFigures(_trained(folder / "metrics.jsonl"))
    if (folder / IMAGE_TOKENIZER / FOLDER).is_dir():
        found += _of_image_tokenizer(folder / IMAGE_TOKENIZER, bundle)
    return found


def _of_image_tokenizer(folder: Path, bundle: Bundle) -> CardFigures:
    loaded = LoadedImageTokenizer(bundle.image_tokenizer, bundle.image_processor, "")
    figures = tokenizer_figures(folder, loaded, next(iter(bundle.vocabulary.sizes.values())))
    return CardFigures(["Of the image tokenizer alone:"]) + figures if figures.paragraphs else figures


def _prior(measured: dict[str, Any]) -> CardFigures:
    """What codes and captions cost, each alone and given the other."""
    protocol, rate = measured["protocol"], measured["rate"]
    data, split = public_name(protocol["codes"]), protocol["split"]
    num_levels = len(rate["codes"]["per_level"])
    codes = []
    for name, words in _CODES.items():
        bits = [*rate[name]["per_level"], rate[name]["per_image"]]
        codes.append([words, *(_estimate(value) for value in bits)])
    captions = [
        [words, *(_estimate(rate[name][unit]) for unit in ("per_caption", "per_byte"))]
        for name, words in _CAPTIONS.items()
    ]
    levels = [f"level {level}" for level in range(num_levels)]
    where = f"{measured['num_images']} pictures of `{data}`, split `{split}`"
    paragraphs = [
        f"Bits among the legal ids on {where}, with 95 % intervals over pictures:",
        markdown_table(["mean bits of", *levels, "all levels"], codes),
        markdown_table(["mean bits of", "a caption", "a byte of it"], captions),
    ]
    index = [
        Figure("text-to-image", data, split, "bits_per_image", f"bits of {_CODES[name]}", value)
        for name in ("codes_given_caption", "codes")
        if (value := rate[name]["per_image"]["value"]) is not None
    ]
    return CardFigures(paragraphs, index, _gap(measured, split))


def _gap(measured: dict[str, Any], split: str) -> list[str]:
    """How much dearer pictures are that were not learned; nothing if that was not measured."""
    if "gap" not in measured:
        return []
    gap = measured["gap"]["codes_given_caption"]["per_image"]["value"]
    if gap is None:
        return []
    more = "more" if gap >= 0 else "fewer"
    return [
        f"A picture of split `{split}` takes {abs(gap):.1f} bits {more} than one that it learned, given the caption."
    ]


def _names(measured: dict[str, Any]) -> CardFigures:
    """Recall of training pictures by name."""
    data, split = public_name(measured["data"]), measured["split"]
    guidance, count = measured["guidance_scale"], measured["num_captions"]
    chance = measured["shuffled_captions"]
    rows = [
        [f"pictures recalled by name, {_drawn(measured['sampling'])}", f"{measured['name_accuracy']:.1%}"],
        *([["without guidance", f"{measured['without_guidance']:.1%}"]] if guidance != 1 else []),
        ["ceiling that the image tokenizer sets", f"{measured['reconstructions']:.1%}"],
        *([["shuffled captions", f"{chance:.1%}"]] if chance is not None else []),
        ["names recalled by picture", f"{measured['caption_accuracy']:.1%}"],
    ]
    where = (
        f"Recall on {count} captions of `{data}`, split `{split}`: is the training picture nearest to the sample the "
        f"one that bears the caption?"
    )
    limits = ["It draws from memory: recall by name says nothing about words that it has not learned."]
    index = [
        Figure("text-to-image", data, split, "name_accuracy", "pictures recalled by name", measured["name_accuracy"]),
        Figure("image-to-text", data, split, "accuracy", "names recalled by picture", measured["caption_accuracy"]),
    ]
    return CardFigures([where, markdown_table(["figure", "value"], rows)], index, limits)


def _drawn(sampling: dict[str, Any]) -> str:
    """The settings of the samples that change anything."""
    plain = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    told = [f"{name} {sampling[name]}" for name, neutral in plain.items() if sampling[name] != neutral]
    return ", ".join([f"guidance {sampling['guidance_scale']:g}", *told])


def _classes(measured: dict[str, Any]) -> CardFigures:
    """The prior as a classifier."""
    count = len(measured["classes"])
    sentence = f"By Bayes' rule it puts {_share(measured, 'accuracy')} into the right one of {count} classes."
    named = ("image-classification", "accuracy", f"right class of {count}, by Bayes' rule")
    return CardFigures([sentence], [_figure(measured, "accuracy", *named)])


def _captions(measured: dict[str, Any]) -> CardFigures:
    """Captions that it writes."""
    sentence = f"It writes the very caption of {_share(measured, 'exact_match').rstrip(',')}."
    named = ("image-to-text", "exact_match", "captions written exactly")
    return CardFigures([sentence], [_figure(measured, "exact_match", *named)])


def _share(measured: dict[str, Any], name: str) -> str:
    """A share of the pictures of a split with its interval, and a comma for what follows."""
    protocol, share = measured["protocol"], measured[name]
    low, high = share["interval"]
    return (
        f"{share['value']:.1%} ({low:.1%} to {high:.1%}) of {measured['num_images']} pictures of "
        f"`{public_name(protocol['codes'])}`, split `{protocol['split']}`,"
    )


def _figure(measured: dict[str, Any], share: str, task: str, metric: str, name: str) -> Figure:
    protocol = measured["protocol"]
    return Figure(task, public_name(protocol["codes"]), protocol["split"], metric, name, measured[share]["value"])


def _samples(measured: dict[str, Any]) -> CardFigures:
    """Drawn pictures of known classes, beside real and decoded ones."""
    protocol, arms = measured["protocol"], list(measured["recognised"])
    data, split = public_name(protocol["data"]), protocol["split"]
    columns = {
        "CAS": ("cas", lambda found: f"{found['accuracy']['value']:.4f}"),
        "FD per class": ("fd", lambda found: f"{found['per_class']:.3f}"),
        "precision": ("precision_recall", lambda found: f"{found['precision']:.3f}"),
        "recall": ("precision_recall", lambda found: f"{found['recall']:.3f}"),
    }
    kept = {title: entry for title, entry in columns.items() if entry[0] in measured}
    rows = [[arm, *(cell(measured[metric][arm]) for metric, cell in kept.values())] for arm in arms]
    where = (
        f"{protocol['num_images_of']['samples']} samples of {len(measured['classes'])} classes beside as many real "
        f"pictures, measured on `{data}`, split `{split}`. CAS is the accuracy on real pictures of a classifier that "
        f"learned from these; FD is a squared Fréchet distance in the features of a classifier trained here, no FID:"
    )
    index = []
    if "cas" in measured:
        value = measured["cas"]["samples"]["accuracy"]["value"]
        index.append(Figure("text-to-image", data, split, "cas", "classification accuracy score", value))
    return CardFigures([where, markdown_table(["pictures", *kept], rows)], index, _copies(measured))


def _copies(measured: dict[str, Any]) -> list[str]:
    """How near samples are to what was learned; nothing if that was not measured."""
    ratios = measured.get("memorisation", {}).get("pixels", {}).get("ratio", {})
    return [
        f"Samples lie {ratio['median']:.2f} times as far from the nearest training picture of their class as {name} "
        f"pictures (medians)."
        for name, ratio in ratios.items()
        if ratio["median"] is not None
    ]


def _ready(measured: dict[str, Any]) -> CardFigures:
    """Figures that are ready to print, by name."""
    return CardFigures([markdown_table(["figure", "value"], list(measured.items()))])


_READERS: dict[str, Callable[[dict[str, Any]], CardFigures]] = {
    "names": _names,
    "prior": _prior,
    "classes": _classes,
    "captions": _captions,
    "samples": _samples,
    "figures": _ready,
}


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
