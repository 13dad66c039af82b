"""What adapting costs and brings: the modes side by side on new and old pictures, or on tasks one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ..hub.errors import InputError
from ..hub.files import write_json
from ..tokenizer.adaptation import AdaptationPictures, Preparation, adapt_tokenizer, adaptable, prepare_adaptation
from ..tokenizer.adaptation_config import FULL, GROW, LORA, MODES, SYMBOLS, AdaptationSettings
from ..tokenizer.adaptation_report import AdaptationReport
from ..tokenizer.devices import default_device
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.loading import load_image_tokenizer
from ..tokenizer.low_rank import least_budget
from ..tokenizer.model import ImageTokenizer
from .bundle_pipeline import check_positive
from .class_groups import ClassSelection, parse_classes
from .labelled_pictures import check_other_pictures, labelled_pictures
from .picture_sample import picture_sample
from .task_sequence import TaskSequence, task_sequence


@dataclass(frozen=True)
class RetentionEvaluation:
    """What is measured.

    Attributes:
        model: tokenizer to adapt.
        data: new pictures, see `load_image_source`.
        reference: old pictures; "" where classes of `data` say which are old.
        split: to learn from.
        measured_split: to measure on.
        classes: old classes of `data`, such as "0-4", in place of `reference`.
        new_classes: new classes of `data`.
        tasks: groups of classes of `data`, one after the other, such as "0-1,2-3"; the tokenizer knows the first.
        modes: to compare.
        full_learning_rates: tried in the mode full, of which the best on the new measured pictures counts.
        num_seeds: runs of each mode.
        max_images: most pictures of a split, drawn by the seed; None takes all.
        settings: of every adaptation but mode and seed; its seed is the first. Adapters may train as many numbers as
            the rows of the mode symbols, if that is compared, unless a rank or a budget is set; of tasks, as many as at
            the task where those were most. Of tasks each gains as many codes.
    """

    model: str
    data: str
    reference: str = ""
    split: str = "train"
    measured_split: str = "test"
    classes: str = ""
    new_classes: str = ""
    tasks: str = ""
    modes: Sequence[str] = MODES
    full_learning_rates: Sequence[float] = (2e-3, 4e-3, 8e-3)
    num_seeds: int = 1
    max_images: int | None = None
    settings: AdaptationSettings = field(default_factory=AdaptationSettings)

    def __post_init__(self) -> None:
        check_positive("num_seeds", self.num_seeds)
        if self.max_images is not None:
            check_positive("max_images", self.max_images)
        unknown = [mode for mode in self.modes if mode not in MODES]
        if unknown or not self.modes:
            raise InputError(f"modes must be among {', '.join(MODES)}, got {', '.join(unknown) or 'none'}")
        if not self.full_learning_rates or min(self.full_learning_rates) <= 0:
            raise InputError(f"full_learning_rates must be above 0, got {list(self.full_learning_rates)}")
        ways = [bool(self.reference), bool(self.classes or self.new_classes), bool(self.tasks)]
        if sum(ways) != 1:
            raise InputError("give one of: --reference with the old pictures, --classes and --new-classes, or --tasks")
        self._check_groups()

    def _check_groups(self) -> None:
        groups = parse_classes("tasks", self.tasks)
        if self.tasks and len(groups) < 2:
            raise InputError(f"tasks must be two groups of classes at least, got {self.tasks!r}")
        if self.classes or self.new_classes:
            given = [text for text in (self.classes, self.new_classes) if text]
            joined = parse_classes("classes and new_classes", ",".join(given))
            if len(given) != 2 or len(joined) != 2:
                raise InputError(
                    f"classes and new_classes must be one group each, got {self.classes!r} and {self.new_classes!r}"
                )

    def seeds(self) -> range:
        """Of the runs."""
        return range(self.settings.seed, self.settings.seed + self.num_seeds)


@dataclass(frozen=True)
class RetentionRun:
    """One adaptation.

    Attributes:
        mode: what moved.
        seed: of it.
        learning_rate: its peak.
        gain: dB that the new pictures gained.
        recovered: `gain` over that of the best run of the mode full with the same seed; None without one, or
            if that gained nothing.
        change_on_old: dB that the old pictures gained, or lost if below 0.
        report: see `AdaptationReport`.
    """

    mode: str
    seed: int
    learning_rate: float
    gain: float
    recovered: float | None
    change_on_old: float
    report: dict[str, Any]


def evaluate_retention(what: RetentionEvaluation, output: Path | None = None) -> dict[str, Any]:
    """Adapts one tokenizer in several modes with equal steps, and measures each.

    Args:
        what: is measured.
        output: folder for `retention.json`; None writes nothing.

    Returns:
        `runs`, see `RetentionRun`; `summary`, mean and spread over seeds a mode; `tasks`, see `TaskSequence`, a mode;
        `protocol`. With tasks the first two are empty, otherwise the third.

    Raises:
        InputError: unusable data, classes or tokenizer.
    """
    for data in filter(None, (what.data, what.reference)):
        check_other_pictures(data, what.measured_split, what.split)
    loaded = load_image_tokenizer(what.model)
    model = adaptable(loaded.model, what.model).to(default_device())  # pyright: ignore[reportArgumentType]
    runs: list[RetentionRun] = []
    sequences: list[TaskSequence] = []
    pictures = None if what.tasks else _pictures(what, loaded.processor)
    for seed in what.seeds():
        settings = replace(what.settings, seed=seed)
        if pictures is None:
            sequences += _sequences(what, model, loaded.processor, settings)
        else:
            runs += _runs(what, prepare_adaptation(model, loaded.processor, pictures, settings), settings)
    report = {
        "runs": [asdict(run) for run in runs],
        "summary": _summary(runs),
        "tasks": [asdict(sequence) | sequence.transfers() for sequence in sequences],
        "protocol": {"library": f"pictogram {version('pictogram')}", **asdict(what)},
    }
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "retention.json", report)
    return report


def _pictures(what: RetentionEvaluation, processor: ImageTokenizerImageProcessorPil) -> AdaptationPictures:
    seed, splits = what.settings.seed, (what.split, what.measured_split)
    if what.reference:
        new, measured_new, old, measured_old = (
            picture_sample(data, split, processor, what.max_images, seed).dataset
            for data in (what.data, what.reference)
            for split in splits
        )
        return AdaptationPictures(new, old, measured_new, measured_old)
    learned, measured = (_selection(what, split, processor) for split in splits)
    (classes,), (new_classes,) = (parse_classes("classes", text) for text in (what.classes, what.new_classes))
    return AdaptationPictures(
        learned.of(new_classes), learned.of(classes), measured.of(new_classes), measured.of(classes)
    )


def _selection(what: RetentionEvaluation, split: str, processor: ImageTokenizerImageProcessorPil) -> ClassSelection:
    pictures = labelled_pictures(what.data, split, processor, what.max_images, what.settings.seed)
    return ClassSelection(pictures, processor)


def _runs(what: RetentionEvaluation, prepared: Preparation, settings: AdaptationSettings) -> Iterator[RetentionRun]:
    """One run a mode, of full the best one."""
    best: float | None = None
    trained: int | None = None
    for mode in _in_order(what.modes):
        asked = _settings_of(mode, settings, trained, prepared.model)
        if mode == FULL:
            found, asked = _best_full(what, prepared, asked)
            best = found.new.gain
        else:
            found = adapt_tokenizer(prepared, asked).report
        if mode == SYMBOLS:
            trained = found.numbers_trained
        yield RetentionRun(
            mode=mode,
            seed=settings.seed,
            learning_rate=asked.peak_learning_rate,
            gain=found.new.gain,
            recovered=found.new.gain / best if best is not None and best > 0 else None,
            change_on_old=found.old.gain,
            report=found.to_dict(),
        )


def _best_full(
    what: RetentionEvaluation, prepared: Preparation, settings: AdaptationSettings
) -> tuple[AdaptationReport, AdaptationSettings]:
    tried = [replace(settings, learning_rate=rate) for rate in what.full_learning_rates]
    reports = [adapt_tokenizer(prepared, asked).report for asked in tried]
    place = max(range(len(tried)), key=lambda number: reports[number].new.gain)
    return reports[place], tried[place]


def _sequences(
    what: RetentionEvaluation,
    model: ImageTokenizer,
    processor: ImageTokenizerImageProcessorPil,
    settings: AdaptationSettings,
) -> Iterator[TaskSequence]:
    groups = parse_classes("tasks", what.tasks)
    new_codes = ",".join(map(str, settings.new_counts(model.config.codebook_sizes)))  # the same at every task
    settings = replace(settings, new_codes=new_codes)
    learned, measured = (_selection(what, split, processor) for split in (what.split, what.measured_split))
    trained: int | None = None
    for mode in _in_order(what.modes):
        asked = _settings_of(mode, settings, trained, model)
        rates = what.full_learning_rates if mode == FULL else [settings.learning_rate]
        tried = [
            task_sequence(model, processor, groups, learned, measured, replace(asked, learning_rate=rate))
            for rate in rates
        ]
        best = max(tried, key=lambda sequence: mean(sequence.psnr[-1]))
        if mode == SYMBOLS:
            trained = max(best.numbers_trained)
        yield best


def _in_order(modes: Sequence[str]) -> list[str]:
    """Full first, since the others are measured by it, and lora last, since symbols says how large it is."""
    return [mode for mode in (FULL, GROW, SYMBOLS, LORA) if mode in modes]


def _settings_of(
    mode: str, settings: AdaptationSettings, trained: int | None, model: ImageTokenizer
) -> AdaptationSettings:
    """The settings of a mode; adapters get `trained` numbers, or those of rank 1, unless told how large they are."""
    asked = replace(settings, mode=mode)
    if mode != LORA or trained is None or settings.lora_rank or settings.lora_budget:
        return asked
    return replace(asked, lora_budget=max(trained, least_budget(model.decoder)))


def _summary(runs: Sequence[RetentionRun]) -> list[dict[str, Any]]:
    """One entry a mode: mean, and standard deviation over seeds where there are several."""
    entries: list[dict[str, Any]] = []
    for mode in dict.fromkeys(run.mode for run in runs):
        figures = [_figures(run) for run in runs if run.mode == mode]
        columns: Mapping[str, list[float]] = {
            name: [values[name] for values in figures if values[name] is not None] for name in figures[0]
        }
        entries.append(
            {
                "mode": mode,
                "num_runs": len(figures),
                "mean": {name: mean(values) if values else None for name, values in columns.items()},
                "spread": {name: stdev(values) if len(values) > 1 else None for name, values in columns.items()},
            }
        )
    return entries


def _figures(run: RetentionRun) -> dict[str, Any]:
    new, old = run.report["new"], run.report["old"]
    return {
        "psnr_new": new["psnr_after"][-1],
        "gain": run.gain,
        "recovered": run.recovered,
        "psnr_old": old["psnr_after"][-1],
        "change_on_old": run.change_on_old,
        "numbers_trained": run.report["numbers_trained"],
        "share_changed": run.report["share_changed"],
        "num_codes": sum(level["codes_after"] for level in run.report["levels"]),
        "bits_new": sum(new["static_bits_after"]),
        "bits_old": sum(old["static_bits_after"]),
    }
