"""What documents that are not learned cost, while the training goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator

from ..tokenizer.batches import permutation
from .code_documents import CodeDocuments
from .costs import cost_metrics, cost_sums, legal_logits, token_nats
from .data import DocumentBatch, collate
from .document_dataset import StoredDocuments
from .documents import NullSegment, TextSegment
from .grammar import Grammar

_DOCUMENTS_AT_ONCE = 32

_PICTURES, _CAPTIONS, _ANYTHING = "pictures", "captions", "anything"
"""Kinds of groups: pictures behind their words, words behind their picture, or documents of any kind."""


class HeldOutDocuments:
    """Documents that are scored among the legal ids.

    Args:
        source: of the documents: rows of codes are scored in both directions, with their first caption; stored
            documents as they are.
        grammar: of their vocabulary.
        num_images: most rows that are scored.
    """

    def __init__(self, source: CodeDocuments | StoredDocuments, grammar: Grammar, num_images: int):
        rows = sorted(permutation(sum(source.shard_sizes), 0, 0)[:num_images].tolist())
        groups = _both_directions(source, rows) if isinstance(source, CodeDocuments) else None
        self.grammar = grammar
        self._groups = {
            name: self._batches(documents)
            for name, documents in (groups or {_ANYTHING: source.documents(rows, torch.empty(0))}).items()
            if documents
        }

    def score(self, model: torch.nn.Module, accelerator: Accelerator) -> dict[str, float]:
        """Bits per picture given its words, per level, and bits per caption given its picture. Call on every process.

        Stored documents give bits per document, apart for text and levels.

        Args:
            model: as the accelerator prepared it; it is left in training mode.
            accelerator: whose processes share the work.
        """
        model.eval()
        scores: dict[str, float] = {}
        for name, batches in self._groups.items():
            scores |= _figures(name, cost_metrics(self._sums(model, accelerator, batches)))
        model.train()
        return {f"eval_{name}": value for name, value in scores.items()}

    def _batches(self, documents: Sequence[list[int]]) -> list[DocumentBatch]:
        ordered = sorted(documents, key=len)
        groups = [ordered[first : first + _DOCUMENTS_AT_ONCE] for first in range(0, len(ordered), _DOCUMENTS_AT_ONCE)]
        return [collate(group, self.grammar.vocabulary.pad_id) for group in groups]

    @torch.no_grad()
    def _sums(self, model: torch.nn.Module, accelerator: Accelerator, batches: list[DocumentBatch]) -> list[float]:
        """The sums of all batches.

        Through the model's own forward pass, and equally often on every process: a model that lies in parts on them
        needs both.
        """
        rank, world_size = accelerator.process_index, accelerator.num_processes
        total = torch.zeros_like(cost_sums(batches[0], torch.zeros(batches[0].labels[:, 1:].shape), self.grammar))
        for first in range(0, len(batches), world_size):
            place = first + rank
            batch = batches[min(place, len(batches) - 1)]
            input_ids = batch.input_ids.to(accelerator.device)
            logits = model(input_ids=input_ids, use_cache=False).logits
            nats = token_nats(legal_logits(logits, input_ids, self.grammar), batch.labels.to(accelerator.device))
            if place < len(batches):
                total += cost_sums(batch, nats, self.grammar)
        reduced = accelerator.reduce(total.to(accelerator.device), "sum")
        assert isinstance(reduced, torch.Tensor)
        return reduced.tolist()


def _both_directions(source: CodeDocuments, rows: list[int]) -> Mapping[str, list[list[int]]]:
    texts = [TextSegment(source.text(captions[0])) for captions in source.rows.captions_of(rows)]
    pairs = list(zip(source.images(rows), texts, strict=True))
    return {
        _PICTURES: [source.lay_out([text if text.ids else NullSegment(), image]) for image, text in pairs],
        _CAPTIONS: [source.lay_out([image, text]) for image, text in pairs if text.ids],
    }


def _figures(group: str, metrics: dict[str, float]) -> dict[str, float]:
    """What is told of a group: of pictures their levels, of captions their text."""
    levels = {name: value for name, value in metrics.items() if name.startswith("level_")}
    if group == _PICTURES:
        return {"bits_per_image": sum(levels.values()), **levels}
    if group == _CAPTIONS:
        return {"text_bits": metrics["text_bits"]}
    return {"bits_per_document": metrics["bits_per_document"], "text_bits": metrics["text_bits"], **levels}
