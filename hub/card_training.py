"""The section of a card that tells how a model came to be."""

from __future__ import annotations

from typing import Any

from .card import markdown_table
from .card_facts import CardFacts
from .provenance import PROVENANCE_NAME, Provenance

_TOLD = ("num_steps", "batch_size", "optimizer", "learning_rate", "size", "mixed_precision", "seed")
"""Settings that a reader asks for first; the file holds all."""


def training_section(provenance: Provenance | None, facts: CardFacts) -> str:
    """Markdown with its heading; empty if nothing is known.

    Args:
        provenance: of the model.
        facts: what is known beside it.
    """
    rows = [["license of the training data", facts.data_license]] if facts.data_license else []
    if provenance is not None:
        rows = [["learned from", _data(provenance.data)], *rows, *_settings(provenance)]
    if not rows:
        return ""
    table = markdown_table(["what", "which"], rows)
    rest = f"\n\n`{PROVENANCE_NAME}` holds every setting." if provenance is not None else ""
    return f"\n## Training\n\n{table}{rest}\n"


def _data(data: dict[str, Any]) -> str:
    rows = f"{data['rows']:,} rows" if isinstance(data.get("rows"), int) else "rows"
    return f"{rows} of `{data.get('name')}`, split `{data.get('split')}`, fingerprint `{data.get('fingerprint')}`"


def _settings(provenance: Provenance) -> list[list[str]]:
    versions = ", ".join(f"{library} {version}" for library, version in provenance.versions.items())
    told = [["settings", _told(provenance.settings)], ["versions", versions]]
    return [*told, *_earlier(provenance), *_tokenizer(provenance)]


def _told(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {settings[name]}" for name in _TOLD if settings.get(name) is not None)


def _earlier(provenance: Provenance) -> list[list[str]]:
    """The trainings before the last one; or, where nobody wrote them down, of what model it went on."""
    if provenance.earlier:
        return [
            ["earlier training", f"{each['stage']}: {_data(each['data'])}; {_told(each['settings'])}"]
            for each in provenance.earlier
        ]
    start = provenance.settings.get("from") or provenance.settings.get("start")
    if not start:
        return []
    prints = ", ".join(f"`{each}`" for each in ([start] if isinstance(start, str) else start))
    return [["it went on from", f"a trained model, {prints}, whose own training is not on record"]]


def _tokenizer(provenance: Provenance) -> list[list[str]]:
    """What the image tokenizer of a bundle came from."""
    made = provenance.image_tokenizer
    if made is None:
        return []
    revision = f" at `{made['revision']}`" if made.get("revision") else ""
    rows = [["image tokenizer", f"`{made.get('name')}`{revision}"]]
    if made.get("provenance"):
        rows.append(["it learned from", _data(made["provenance"]["data"])])
    return rows
