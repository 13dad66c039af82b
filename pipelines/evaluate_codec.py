"""Curves of bytes and quality: a codec's real files beside standard picture files and codecs without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..hub.errors import InputError
from ..hub.files import atomic_write_text, check_new_folder, finite, write_json
from ..tokenizer.batches import derived_generator
from ..tokenizer.images import Failure, ImageSource, find_unreadable, load_image_source
from ..tokenizer.progress import progress_bar
from .bundle_pipeline import check_positive
from .codec_points import CodecPoint, CodecSetting, bundle_key, codec_point, codec_settings, reader_bytes
from .codec_squares import spread
from .codec_tables import cost_table, costs, equal_quality_table, even_decibels, rate_differences
from .curve_baselines import LAYOUTS, Baseline, BaselineSettings, baselines
from .curve_files import formats, measure_files
from .curve_pictures import Pictures, common_mode, first_pictures, stack, tensors
from .curve_plot import check_plotting, plot_curves
from .curve_points import Point, by_codec, bytes_at, frontier
from .curve_store import PointStore
from .image_codec import ImageCodec
from .labelled_pictures import check_other_pictures

OURS = "pictogram"
"""Name of the curve of `models`."""

_SEED = 0

_TAKEN = ("klt", "patch vq")
_ENDINGS = (" file", " sheet", " static")
"""Names of curves that are measured beside those of bundles."""


@dataclass(frozen=True)
class CodecEvaluation:
    """What is measured.

    Attributes:
        models: bundles that make one curve together: the best of all of them and of their settings.
        data: the pictures, see `load_image_source`.
        split: to measure on.
        reference_split: for the codecs without a network to learn from, in pictures of one size; "" leaves them out.
        rate_weights: squared errors that a bit is worth, at encoding; 0 is always among them.
        against: further bundles by the name of their curve.
        layout: of things in the pictures, see `curve_baselines.LAYOUTS`.
        max_images: most pictures to measure, drawn by a fixed seed; None takes all.
        max_files: most of them, from all over, in files of their own.
        at_psnr: dB at which bytes are compared; none takes even numbers that the curve reaches.
        baselines: settings in place of the layout's.
    """

    models: Sequence[str]
    data: str
    split: str = "test"
    reference_split: str = "train"
    rate_weights: Sequence[float] = ()
    against: Mapping[str, Sequence[str]] = field(default_factory=dict)
    layout: str = "aligned"
    max_images: int | None = None
    max_files: int = 100
    at_psnr: Sequence[float] = ()
    baselines: BaselineSettings | None = None

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("expected at least one bundle to measure, got none")
        if self.layout not in LAYOUTS:
            raise InputError(f"layout must be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        if any(weight < 0 for weight in self.rate_weights):
            raise InputError(f"rate weights must be 0 or more, got {list(self.rate_weights)}")
        for name in self.against:
            if name == OURS or name in _TAKEN or name.endswith(_ENDINGS):
                raise InputError(f"{name!r} is the name of another curve; name the bundle's otherwise")
        for name, value in {"max_images": self.max_images, "max_files": self.max_files}.items():
            if value is not None:
                check_positive(name, value)

    @property
    def weights(self) -> list[float]:
        """Rate weights at encoding, from small to large."""
        return sorted({0.0, *map(float, self.rate_weights)})


def evaluate_codec(what: CodecEvaluation, output: Path) -> dict[str, Any]:
    """Measures all points, or those missing; writes `points.json`, `report.json`, `tables.md` and `curves.png`.

    Args:
        what: is measured.
        output: folder; the same again goes on with the same pictures, and adds models or weights.

    Returns:
        What `report.json` holds: `points`, all of them; `curves`, the frontier of each codec; `at_psnr`, bytes of each
        codec at equal PSNR; `rate_differences`, see `bjontegaard_rate`; `costs`, J of each model at each weight;
        `reader_bytes`, of each model's weights; `failures`, pictures of both splits that cannot be read; `protocol`.

    Raises:
        InputError: something is missing or damaged, or the folder holds points of other pictures.
    """
    check_plotting()
    check_new_folder(output)
    pictures = _choose(what)
    others = Baselines.prepare(what, pictures.images)  # and what is missing there, too
    measurer = _Measurer(what, pictures.images, PointStore(output / "points.json", _protocol(what, pictures)))
    own = measurer.own_points()
    points = [*own, *measurer.file_points(), *measurer.baseline_points(others)]
    report = _report(what, own, points) | {
        "reader_bytes": measurer.reader_bytes,
        "failures": [f"{failure.key} ({failure.reason})" for failure in [*pictures.failures, *others.failures]],
        "protocol": measurer.store.protocol,
    }
    atomic_write_text(output / "tables.md", tables(report))
    report = finite(report)  # null for the PSNR of perfect copies
    write_json(output / "report.json", report)
    plot_curves(by_codec(points), output / "curves.png", emphasised=(OURS, f"{OURS} file"))
    return report


def tables(report: dict[str, Any]) -> str:
    """The tables of a report, in Markdown."""
    differences = "\n".join(f"- {name}: {share:+.1%}" for name, share in report["rate_differences"].items())
    parts = {
        "Bytes per picture at equal PSNR": equal_quality_table(report["at_psnr"]),
        "Bytes beside others' at equal PSNR, on average over the PSNRs that both reach": differences,
        "J = squared error of a picture + weight x bits of its file: as trained / in the best setting": (
            cost_table(report["costs"])
        ),
    }
    return "\n\n".join(f"{title}\n\n{content}" for title, content in parts.items() if content) + "\n"


@dataclass(frozen=True)
class _Pictures:
    images: list[Image.Image]
    failures: list[Failure]


def _choose(what: CodecEvaluation) -> _Pictures:
    """The readable ones among the pictures that are asked for."""
    source = load_image_source(what.data, what.split)
    if what.max_images is not None and what.max_images < len(source):
        order = torch.randperm(len(source), generator=derived_generator(_SEED, "evaluate"))
        source = source.select(sorted(order[: what.max_images].tolist()))
    if not len(source):
        raise InputError(f"split {what.split} of {what.data} holds no pictures")
    return _readable(source)


def _readable(source: ImageSource) -> _Pictures:
    """All pictures but those that cannot be read, which are listed."""
    with progress_bar("read", 2 * len(source)) as advance:
        failures = find_unreadable(source, advance)
        return _Pictures(list(first_pictures(source.without(failures), len(source), advance)), failures)


def _protocol(what: CodecEvaluation, pictures: _Pictures) -> dict[str, Any]:
    """What all points depend on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("pictogram", "torch", "pillow"))
    content = hashlib.sha256(b"".join(image.tobytes() for image in pictures.images))
    return {
        "library": versions,
        "data": what.data,
        "split": what.split,
        "num_images": len(pictures.images),
        "num_files": min(what.max_files, len(pictures.images)),
        "choice": "all pictures" if what.max_images is None else f"at most {what.max_images} of a split, seed {_SEED}",
        "content": content.hexdigest()[:16],
    }


@dataclass(frozen=True)
class Baselines:
    """Codecs without a network that are to be measured.

    Attributes:
        jobs: groups of points; none where pictures differ in size or there is nothing to learn from.
        key: of what they learn from and of their settings.
        failures: pictures to learn from that cannot be read.
    """

    jobs: Sequence[Baseline]
    key: str = ""
    failures: Sequence[Failure] = ()

    @classmethod
    def prepare(cls, what: CodecEvaluation, images: Sequence[Image.Image]) -> Baselines:
        """Reads the pictures to learn from.

        Raises:
            InputError: there are none, or they are of another size.
        """
        test = tensors(images, common_mode(images))
        if not what.reference_split or not isinstance(test, torch.Tensor):
            return cls([])
        try:
            check_other_pictures(what.data, what.split, what.reference_split)
        except InputError as error:
            raise InputError(f"{error}; an empty reference_split leaves out what learns from pictures") from None
        settings = what.baselines or LAYOUTS[what.layout]
        source = load_image_source(what.data, what.reference_split)
        reference = _readable(source.select(range(min(len(source), settings.max_train))))
        train = stack(reference.images)
        learned = hashlib.sha256(train.numpy().tobytes() + repr(settings).encode()).hexdigest()[:16]
        return cls([*baselines(Pictures.alike(train, test), settings)], learned, reference.failures)


class _Measurer:
    """The points of one evaluation, each measured once.

    Attributes:
        reader_bytes: of each bundle that was opened, see `codec_points.reader_bytes`.
    """

    def __init__(self, what: CodecEvaluation, images: list[Image.Image], store: PointStore):
        self.what, self.images, self.store = what, images, store
        self.few = [images[index] for index in spread(len(images), what.max_files)]
        self.reader_bytes: dict[str, int] = {}

    def own_points(self) -> list[CodecPoint]:
        """Of all bundles; and for the frontier of `models` in files of one picture each."""
        points: list[CodecPoint] = []
        for curve, models in {OURS: self.what.models, **self.what.against}.items():
            points += [point for model in dict.fromkeys(models) for point in self._bundle_points(curve, model)]
        best = {id(point) for point in frontier([point for point in points if point.codec == OURS])}
        return points + self._points_apart([point for point in points if id(point) in best])

    def _bundle_points(self, curve: str, model: str) -> list[CodecPoint]:
        codec = ImageCodec.from_pretrained(model, device="cpu")
        self.reader_bytes[model] = reader_bytes(codec.bundle)
        settings = codec_settings(codec.bundle, self.what.weights)
        points: list[CodecPoint] = []
        with progress_bar(curve[:12], len(settings)) as advance:
            for setting in settings:
                name = f"{curve} static" if setting.is_static else curve
                points.append(self._measured(codec, setting, name, self.images, apart=False))
                advance(1)
        return points

    def _points_apart(self, archived: list[CodecPoint]) -> list[CodecPoint]:
        """The same settings with a file for each of a few pictures."""
        points: list[CodecPoint] = []
        with progress_bar("single files", len(archived)) as advance:
            for model in dict.fromkeys(point.model for point in archived):
                codec = ImageCodec.from_pretrained(model, device="cpu")
                for point in archived:
                    if point.model == model:
                        setting = CodecSetting(point.num_levels, point.rate_weight)
                        points.append(self._measured(codec, setting, OURS, self.few, apart=True))
                        advance(1)
        return points

    def _measured(
        self, codec: ImageCodec, setting: CodecSetting, name: str, images: list[Image.Image], *, apart: bool
    ) -> CodecPoint:
        model = codec.bundle.name
        key = f"{bundle_key(codec.bundle, is_static=setting.is_static)}, {setting}, {'apart' if apart else 'together'}"
        (point,) = self.store.get(key, CodecPoint, lambda: [codec_point(codec, images, setting, apart=apart)])
        # The same weights may have been measured under another name.
        curve = f"{name} file" if apart else name
        return replace(point, codec=curve, model=model, setting=f"{model}, {setting}")

    def file_points(self) -> list[Point]:
        """Standard files: of few pictures one by one, and of all on one sheet if they have one size."""
        mode = common_mode(self.images)
        one_by_one, together = tensors(self.few, mode), tensors(self.images, mode)
        jobs = [("file", one_by_one)] + ([("sheet", together)] if isinstance(together, torch.Tensor) else [])
        points: list[Point] = []
        known = formats(one_by_one[0].shape[-1])
        with progress_bar("files", len(jobs) * sum(len(kind.qualities) for kind in known)) as advance:
            for (way, pictures), kind in product(jobs, known):
                for quality in kind.qualities:
                    key = f"{kind.name} {kind.note} {quality} {way}"
                    asked = (pictures, kind, quality, way)
                    points += self.store.get(key, Point, lambda asked=asked: [measure_files(*asked)])
                    advance(1)
        return points

    def baseline_points(self, others: Baselines) -> list[Point]:
        """Codecs without a network."""
        points: list[Point] = []
        with progress_bar("no network", len(others.jobs)) as advance:
            for job in others.jobs:
                points += self.store.get(f"{job.name}, {others.key}", Point, job.measure)
                advance(1)
        return points


def _report(what: CodecEvaluation, own: list[CodecPoint], points: list[Point]) -> dict[str, Any]:
    curves = by_codec(points)
    archives = [point for point in own if point.codec == OURS]
    wanted = list(what.at_psnr) or even_decibels(curves[OURS])
    return {
        "points": [asdict(point) for point in points],
        "curves": {name: [[point.bytes, point.psnr, point.ssim] for point in curve] for name, curve in curves.items()},
        "at_psnr": {name: {f"{psnr:g}": bytes_at(curve, psnr) for psnr in wanted} for name, curve in curves.items()},
        "rate_differences": rate_differences(curves, OURS),
        "costs": costs(archives, [weight for weight in what.weights if weight]),
    }
