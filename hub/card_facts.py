"""What a card says that nobody can measure: licenses, and where the training data lies on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .card import CARD_NAME, has_draft_card

_DATA_LICENSE = "data_license"


@dataclass(frozen=True)
class CardFacts:
    """Given by whoever publishes a model.

    Attributes:
        license: of the model, an identifier of the Hub such as "apache-2.0"; empty if nobody said.
        data_license: of what it learned from, in words.
        datasets: names on the Hub of what it learned from.
    """

    license: str = ""
    data_license: str = ""
    datasets: Sequence[str] = ()

    @classmethod
    def of_draft(cls, folder: Path) -> CardFacts:
        """Those of the card that pictogram wrote into the folder earlier; none without one."""
        metadata = draft_metadata(folder)
        datasets = metadata.get("datasets") or ()
        return cls(
            license=str(metadata.get("license") or ""),
            data_license=str(metadata.get(_DATA_LICENSE) or ""),
            datasets=tuple(map(str, datasets)) if isinstance(datasets, list) else (),
        )

    def over(self, other: CardFacts) -> CardFacts:
        """These facts, and those of `other` where nothing is said here."""
        return CardFacts(
            license=self.license or other.license,
            data_license=self.data_license or other.data_license,
            datasets=tuple(self.datasets) or tuple(other.datasets),
        )

    def metadata(self) -> dict[str, Any]:
        """For the card's YAML."""
        known = {"license": self.license, "datasets": list(self.datasets), _DATA_LICENSE: self.data_license}
        return {name: value for name, value in known.items() if value}


def draft_metadata(folder: Path) -> dict[str, Any]:
    """The YAML of the card that pictogram wrote into a folder and nobody changed; empty without one."""
    from huggingface_hub import metadata_load

    return (metadata_load(folder / CARD_NAME) or {}) if has_draft_card(folder) else {}
