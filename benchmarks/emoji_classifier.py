"""A small convolutional classifier of emoji, trained on real pictures; its features compare pictures by what they show.

It learns style, category and name together, so the features know a picture's subject apart from the style it is drawn
in. The recipe is fixed: the same for every model that is measured with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional as F

from pictogram.hub.errors import InputError
from pictogram.hub.files import atomic_write_bytes
from pictogram.hub.fingerprint import fingerprint
from pictogram.tokenizer.progress import progress_bar

_EPOCHS = 24
_BATCH_SIZE = 128
_LEARNING_RATE = 3e-3
_MOST_SHIFT = 3  # pixels, of training pictures in both directions
_NUM_FEATURES = 256


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures and what they show.

    Attributes:
        pixels: float (N, 3, H, W) in [-1, 1].
        names: N words for the subject.
        styles: N names of styles.
        categories: N names of categories.
    """

    pixels: torch.Tensor
    names: list[str]
    styles: list[str]
    categories: list[str]


class EmojiClassifier(nn.Module):
    """Four convolutions with batch norm, the mean over places, and one linear head per label.

    Args:
        vocabularies: the values of each label.
    """

    def __init__(self, vocabularies: dict[str, list[str]]):
        super().__init__()
        self.vocabularies = vocabularies
        layers: list[nn.Module] = []
        for inner, outer, kernel in ((3, 32, 5), (32, 64, 3), (64, 128, 3), (128, _NUM_FEATURES, 3)):
            convolution = nn.Conv2d(inner, outer, kernel, stride=2, padding=kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(outer), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({label: nn.Linear(_NUM_FEATURES, len(v)) for label, v in vocabularies.items()})

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 256) features of pictures (B, 3, H, W) in [-1, 1]."""
        return self.body(pixels).mean((2, 3))

    @torch.no_grad()
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 256) features of any number of pictures."""
        self.eval()
        return torch.cat([self(part) for part in pixels.split(_BATCH_SIZE)])

    @torch.no_grad()
    def accuracy(self, features: torch.Tensor, label: str, values: list[str]) -> float:
        """Share of pictures, (N, 256) features of them, whose label is recognised."""
        found = self.heads[label](features).argmax(1).tolist()
        return sum(self.vocabularies[label][f] == value for f, value in zip(found, values, strict=True)) / len(values)


def train_classifier(pictures: Labelled, seed: int, epochs: int = _EPOCHS) -> EmojiClassifier:
    """Trains on randomly shifted pictures, by AdamW with one cycle of learning rates."""
    torch.manual_seed(seed)
    model, labels = _untrained(pictures), _labels(pictures)
    targets = {label: _numbers(model.vocabularies[label], values) for label, values in labels.items()}
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    batches = -(-len(pictures.pixels) // _BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=epochs * batches)
    model.train()
    with progress_bar("classifier", epochs * batches) as advance:
        for _ in range(epochs):
            for rows in torch.randperm(len(pictures.pixels)).split(_BATCH_SIZE):
                features = model(_shifted(pictures.pixels[rows]))
                loss = sum(F.cross_entropy(model.heads[n](features), t[rows]) for n, t in targets.items())
                assert isinstance(loss, torch.Tensor)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                advance(1)
    return model.eval()


def kept_classifier(path: Path, pictures: Labelled, seed: int, epochs: int = _EPOCHS) -> EmojiClassifier:
    """The classifier in a file, which is trained and written if there is none.

    Raises:
        InputError: the file holds no classifier of these pictures, this seed and so many epochs.
    """
    settings = {"seed": seed, "epochs": epochs} | _labels(pictures)
    origin = {"trained_on": fingerprint({"pixels": pictures.pixels}, settings)}
    if not path.exists():
        model = train_classifier(pictures, seed, epochs)
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        atomic_write_bytes(path, save(tensors, metadata=origin))
        return model
    with safe_open(path, "pt") as file:
        found = file.metadata()
    if found != origin:
        raise InputError(f"{path} was trained on other pictures, or otherwise: expected {origin}, got {found}")
    model = _untrained(pictures)
    model.load_state_dict(load_file(path))
    return model.eval()


def _labels(pictures: Labelled) -> dict[str, list[str]]:
    return {"style": pictures.styles, "category": pictures.categories, "name": pictures.names}


def _untrained(pictures: Labelled) -> EmojiClassifier:
    return EmojiClassifier({label: sorted(set(values)) for label, values in _labels(pictures).items()})


def _numbers(vocabulary: list[str], values: list[str]) -> torch.Tensor:
    places = {value: number for number, value in enumerate(vocabulary)}
    return torch.tensor([places[value] for value in values])


def _shifted(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures moved by a few pixels, all of a batch alike; white comes in at the sides."""
    down, right = torch.randint(-_MOST_SHIFT, _MOST_SHIFT + 1, (2,)).tolist()
    padded = F.pad(pixels, [_MOST_SHIFT] * 4, value=1.0)
    height, width = pixels.shape[2:]
    top, left = _MOST_SHIFT + down, _MOST_SHIFT + right
    return padded[:, :, top : top + height, left : left + width]
