"""Tasks one after the other: what each does to all others (Lopez-Paz and Ranzato 2017, arXiv:1706.08840)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from ..hub.errors import InputError
from ..tokenizer.adaptation import AdaptationPictures, adapt_tokenizer, prepare_adaptation
from ..tokenizer.adaptation_config import AdaptationSettings
from ..tokenizer.adaptation_report import measure
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.pixel_dataset import PixelDataset
from .class_groups import ClassSelection


@dataclass(frozen=True)
class TaskSequence:
    """What one mode of adaptation made of a sequence of tasks.

    Attributes:
        mode: what moved.
        seed: of every adaptation.
        learning_rate: peak of every adaptation.
        groups: classes of each task; the tokenizer knew the first.
        psnr: (tasks, tasks) dB of all levels: row i after task i was learned, column j on the pictures of task j. Row 0
            is the tokenizer as it was given.
        codebook_sizes: codes a level at the end.
        numbers_trained: of each adaptation, one less than there are tasks.
    """

    mode: str
    seed: int
    learning_rate: float
    groups: list[list[int]]
    psnr: list[list[float]]
    codebook_sizes: list[int]
    numbers_trained: list[int]

    def transfers(self) -> dict[str, float | None]:
        """Backward transfer: what earlier tasks gained by later ones, in dB, below 0 where they were forgotten.

        Forward transfer: what tasks gained before they were learned, by those before them, over the tokenizer as it was
        given; None where there are fewer than three tasks.
        """
        last, matrix = len(self.psnr) - 1, self.psnr
        ahead = [matrix[task - 1][task] - matrix[0][task] for task in range(2, last + 1)]
        return {
            "backward_transfer": mean(matrix[last][task] - matrix[task][task] for task in range(last)),
            "forward_transfer": mean(ahead) if ahead else None,
            "final": mean(matrix[last]),
        }


def task_sequence(
    model: ImageTokenizer,
    processor: ImageTokenizerImageProcessorPil,
    groups: Sequence[list[int]],
    learned: ClassSelection,
    measured: ClassSelection,
    settings: AdaptationSettings,
) -> TaskSequence:
    """Adapts a tokenizer to one group of classes after the other.

    Pictures of earlier tasks are counted, to know which symbols they use; nothing is learned from them again.

    Args:
        model: knows the first group; it stays as it is.
        processor: of its pixels.
        groups: of classes, two at least.
        learned: pictures to learn from.
        measured: pictures to measure on.
        settings: of every adaptation.

    Raises:
        InputError: classes without pictures, or pictures that came back perfect, of which no PSNR can be compared.
    """
    sets = [measured.of(group) for group in groups]
    rows, trained = [_psnr(model, sets)], []
    for task in range(1, len(groups)):
        earlier = [number for group in groups[:task] for number in group]
        pictures = AdaptationPictures(
            new=learned.of(groups[task]),
            old=learned.of(earlier),
            measured_new=sets[task],
            measured_old=measured.of(earlier),
        )
        adapted = adapt_tokenizer(prepare_adaptation(model, processor, pictures, settings), settings)
        model = adapted.model
        rows.append(_psnr(model, sets))
        trained.append(adapted.report.numbers_trained)
    return TaskSequence(
        mode=settings.mode,
        seed=settings.seed,
        learning_rate=settings.peak_learning_rate,
        groups=[*groups],
        psnr=rows,
        codebook_sizes=list(model.config.codebook_sizes),
        numbers_trained=trained,
    )


def _psnr(model: ImageTokenizer, sets: Sequence[PixelDataset]) -> list[float]:
    found = [measure(model, each).psnr[-1] for each in sets]
    if any(value is None for value in found):
        raise InputError("pictures of a task came back perfect: there is no PSNR to compare")
    return [value for value in found if value is not None]
