"""Pictures of samples for people to look at."""

import torch
from PIL import Image

from pictogram.pipelines.sample_arms import PictureArm
from pictogram.pipelines.sample_classifier import SampleClassifier
from pictogram.pipelines.sample_input import SAMPLES, SampleInput
from pictogram.pipelines.sample_pictures import save_sample_grids


class _Threshold(SampleClassifier):
    """Bright pictures are of class 0; the further from the middle, the surer."""

    def chances(self, pixels: torch.Tensor) -> torch.Tensor:
        bright = pixels.double().mean((1, 2, 3)) / 255
        return torch.stack([bright, 1 - bright], 1)


def _given(values: list[int], classes: list[int]) -> SampleInput:
    pixels = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone()
    arm = PictureArm(pixels, torch.tensor(classes))
    return SampleInput(["bright", "dark"], arm, arm, {SAMPLES: arm}, None, None, {}, [])


def test_rows_are_classes_and_mistakes_come_the_surest_first(tmp_path):
    given = _given([250, 10, 120, 60, 20], [0, 1, 0, 0, 1])
    save_sample_grids(tmp_path, given, _Threshold(1, 2, (4,)))
    everything = Image.open(tmp_path / "samples.png").convert("L")
    assert [everything.getpixel((30 + 62 * column, 30)) for column in range(3)] == [250, 120, 60]
    mistaken = Image.open(tmp_path / "mistaken.png").convert("L")
    assert [mistaken.getpixel((30 + 62 * column, 30)) for column in range(2)] == [60, 120]
    assert mistaken.height < everything.height


def test_without_mistakes_there_is_no_picture_of_them(tmp_path):
    save_sample_grids(tmp_path, _given([250, 10], [0, 1]), _Threshold(1, 2, (4,)))
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]
