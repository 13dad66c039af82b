"""The section of a card that tells how a model came to be."""

from __future__ import annotations

from typing import Any

from .card import markdown_table
from .card_facts import CardFacts
from .provenance import PROVENANCE_NAME, Provenance, tokenizer_provenance_of

_TOLD = ("mode", "num_steps", "batch_size", "optimizer", "learning_rate", "size", "mixed_precision", "seed")
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
    told = f"{rows} of `{data.get('name')}`, split `{data.get('split')}`, fingerprint `{data.get('fingerprint')}`"
    replayed = data.get("replayed")
    return f"{told}; again {_data(replayed)}" if isinstance(replayed, dict) else told


def _settings(provenance: Provenance) -> list[list[str]]:
    versions = ", ".join(f"{library} {version}" for library, version in provenance.versions.items())
    told = [["settings", f"{provenance.stage}: {_told(provenance.settings)}"], ["versions", versions]]
    earlier = [["it had learned before", each] for each in _earlier(provenance)]
    return [*told, *earlier, *_tokenizer(provenance)]


def _told(settings: dict[str, Any]) -> str:
    # A prior that goes on from another one has that one's size, whatever the command was told.
    names = [name for name in _TOLD if not (name == "size" and "from" in settings)]
    return ", ".join(f"{name} {settings[name]}" for name in names if settings.get(name) is not None)


def _earlier(provenance: Provenance) -> list[str]:
    """The trainings before the last one, the first one first, and whether there was another before those."""
    first = provenance.earlier[0]["settings"] if provenance.earlier else provenance.settings
    start = first.get("from") or first.get("start") or []
    prints = ", ".join(f"`{each}`" for each in ([start] if isinstance(start, str) else start))
    unknown = [f"what made a model with the fingerprint {prints}, which is not on record"] if prints else []
    known = [f"{_data(each['data'])}; {each['stage']}: {_told(each['settings'])}" for each in provenance.earlier]
    return unknown + known


def _tokenizer(provenance: Provenance) -> list[list[str]]:
    """What the image tokenizer of a bundle came from."""
    made = provenance.image_tokenizer
    if made is None:
        return []
    revision = f" at `{made['revision']}`" if made.get("revision") else ""
    rows = [["image tokenizer", f"`{made.get('name')}`{revision}"]]
    its = tokenizer_provenance_of(provenance, PROVENANCE_NAME)
    if its is not None:
        rows.append(["it learned from", _data(its.data)])
        rows += [["and before", each] for each in _earlier(its)]
    return rows
