"""The grammar of documents as a small state machine: it says which ids are legal at every place.

    document = <bos> (text | <null> | image)* <eos>      then only <pad>
    image    = <image HxW> codes in document order </image>

After `<null>` only an image may follow. Inside an image the legal ids are exactly those of the level at that place. The
sampler, the logits processor for `generate()` and the rate all ask this one class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch

from ..hub.errors import InputError
from .order import document_order
from .segments import BOS, EOS, IMAGE_END, NULL, PAD, image_start_token
from .vocabulary import JointVocabulary

# Every id has one role; a legal set is a union of roles. Level l has role _LEVEL + l.
_TEXT, _PAD, _BOS, _EOS, _NULL, _IMAGE_START, _IMAGE_END, _OTHER, _LEVEL = range(9)

# The legal sets, as indices into `Grammar.legal_sets`. Level l has set LEVEL + l.
START, DOCUMENT, AFTER_NULL, CLOSE_IMAGE, END, LEVEL = range(6)
_ROLES_OF_SET = {
    START: (_BOS,),
    DOCUMENT: (_TEXT, _EOS, _NULL, _IMAGE_START),
    AFTER_NULL: (_IMAGE_START,),
    CLOSE_IMAGE: (_IMAGE_END,),
    END: (_PAD,),
}
_NAME_OF_SET = {
    START: BOS,
    DOCUMENT: f"text, an image start, {NULL} or {EOS}",
    AFTER_NULL: "an image start",
    CLOSE_IMAGE: IMAGE_END,
    END: f"nothing but {PAD}",
}
# The set that governs an id of each role, apart from what <null> changes.
_SET_OF_ROLE = {
    _TEXT: DOCUMENT,
    _PAD: END,
    _BOS: START,
    _EOS: DOCUMENT,
    _NULL: DOCUMENT,
    _IMAGE_START: DOCUMENT,
    _IMAGE_END: CLOSE_IMAGE,
    _OTHER: DOCUMENT,
}

# Kinds of a token, for reports. Level l has kind KIND_LEVEL + l.
KIND_TEXT, KIND_CONTROL, KIND_LEVEL = range(3)


@dataclass(frozen=True)
class GrammarState:
    """A place in a document.

    Attributes:
        kind: "start" (before `<bos>`), "document" (between segments or in text), "null" (after `<null>`), "image"
            (inside one) or "end" (after `<eos>`).
        size: name of the current image's size, in an image only.
        offset: number of the current image's codes already read, in an image only.
    """

    kind: str
    size: str = ""
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Slots:
    """What governs every token of a batch of documents. Both are LongTensors (B, T).

    Attributes:
        legal_set: index into `Grammar.legal_sets` of the set that this token (not the next one) was chosen from.
        kind: KIND_TEXT, KIND_CONTROL or KIND_LEVEL + level.
    """

    legal_set: torch.Tensor
    kind: torch.Tensor


class Grammar:
    """The state machine of one vocabulary. It holds no state of a document: states are passed in and returned.

    Attributes:
        vocabulary: the vocabulary.
        legal_sets: the distinct sets of legal ids, each an ascending LongTensor; the constants of this module index it.
    """

    start = GrammarState("start")

    def __init__(self, vocabulary: JointVocabulary):
        self.vocabulary = vocabulary
        roles = _roles(vocabulary)
        sets = [torch.isin(roles, torch.tensor(_ROLES_OF_SET[index])) for index in range(LEVEL)]
        sets += [roles == _LEVEL + level for level in range(vocabulary.num_levels)]
        self.legal_sets: list[torch.Tensor] = [legal.nonzero().flatten() for legal in sets]
        self._roles: list[int] = roles.tolist()
        self._size_of_start = {vocabulary.image_start_id(size): size for size in vocabulary.sizes}
        self._levels: dict[str, list[int]] = {
            size: document_order(grids, vocabulary.order).levels.tolist() for size, grids in vocabulary.sizes.items()
        }

    def set_index(self, state: GrammarState) -> int:
        """The index of the legal set at `state`."""
        if state.kind == "image":
            levels = self._levels[state.size]
            return LEVEL + levels[state.offset] if state.offset < len(levels) else CLOSE_IMAGE
        return {"start": START, "document": DOCUMENT, "null": AFTER_NULL, "end": END}[state.kind]

    def legal_ids(self, state: GrammarState) -> torch.Tensor:
        """The ids that may come at `state`, ascending; the same object whenever the set is the same."""
        return self.legal_sets[self.set_index(state)]

    def is_legal(self, state: GrammarState, id_: int) -> bool:
        """Whether `id_` may come at `state`."""
        if not 0 <= id_ < len(self._roles):
            return False
        role, legal = self._roles[id_], self.set_index(state)
        return role - _LEVEL == legal - LEVEL if legal >= LEVEL else role in _ROLES_OF_SET[legal]

    def advance(self, state: GrammarState, id_: int) -> GrammarState:
        """The state after `id_`.

        Raises:
            InputError: `id_` is not legal at `state`; the message says what was.
        """
        if not self.is_legal(state, id_):
            raise InputError(f"{self.vocabulary.describe(id_)} came where {self._expected(state)} is expected")
        if state.kind == "image" and self._roles[id_] != _IMAGE_END:
            return GrammarState("image", state.size, state.offset + 1)
        size = self.size_of_start(id_)
        if size is not None:
            return GrammarState("image", size)
        return GrammarState({_NULL: "null", _EOS: "end", _PAD: "end"}.get(self._roles[id_], "document"))

    def state_after(self, ids: Iterable[int], state: GrammarState = start) -> GrammarState:
        """The state after all `ids`, read from `state` on.

        Raises:
            InputError: an id is illegal; the message names its place.
        """
        for index, id_ in enumerate(ids):
            try:
                state = self.advance(state, int(id_))
            except InputError as error:
                raise InputError(f"position {index}: {error}") from None
        return state

    def size_of_start(self, id_: int) -> str | None:
        """The name of the image size that `id_` opens, or None if it is no `<image HxW>`."""
        return self._size_of_start.get(id_)

    def slots(self, input_ids: torch.Tensor) -> Slots:
        """What governs every token of whole, legal documents, without walking them one by one.

        Every id determines its own legal set, but for an image start, which `<null>` narrows. Several documents in a
        row, and padding on either side, are fine: `<pad>` gets the set END, whose only member it is, so it costs no
        bits.

        Args:
            input_ids: LongTensor (B, T).
        """
        set_of_id, kind_of_id = (table.to(input_ids.device) for table in self._slot_tables)
        legal_set = set_of_id[input_ids]
        after_null = input_ids[:, :-1] == self.vocabulary.null_id
        legal_set[:, 1:][after_null] = AFTER_NULL
        return Slots(legal_set, kind_of_id[input_ids])

    @cached_property
    def legal_table(self) -> torch.Tensor:
        """The legal sets as one BoolTensor (number of sets, vocab_size)."""
        table = torch.zeros(len(self.legal_sets), self.vocabulary.vocab_size, dtype=torch.bool)
        for row, legal in zip(table, self.legal_sets, strict=True):
            row[legal] = True
        return table

    @cached_property
    def _slot_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The legal set and the kind of every id, LongTensors (vocab_size,)."""
        levels = range(self.vocabulary.num_levels)
        set_of_role = [*(_SET_OF_ROLE[role] for role in range(_LEVEL)), *(LEVEL + level for level in levels)]
        kind_of_role = [KIND_TEXT, *[KIND_CONTROL] * (_LEVEL - 1), *(KIND_LEVEL + level for level in levels)]
        roles = torch.tensor(self._roles)
        return torch.tensor(set_of_role)[roles], torch.tensor(kind_of_role)[roles]

    def _expected(self, state: GrammarState) -> str:
        legal = self.set_index(state)
        if legal < LEVEL:
            return _NAME_OF_SET[legal]
        count = len(self._levels[state.size])
        return f"code {state.offset + 1} of {count} of the image, one of level {legal - LEVEL},"


def _roles(vocabulary: JointVocabulary) -> torch.Tensor:
    """The role of every id, LongTensor (vocab_size,)."""
    roles = torch.full((vocabulary.vocab_size,), _OTHER)
    roles[: len(vocabulary.text_range)] = _TEXT
    roles[sorted(vocabulary.reserved_text_ids)] = _OTHER
    role_of_token = {PAD: _PAD, BOS: _BOS, EOS: _EOS, NULL: _NULL, IMAGE_END: _IMAGE_END}
    role_of_token |= {image_start_token(size): _IMAGE_START for size in vocabulary.sizes}
    for token, role in role_of_token.items():
        roles[vocabulary.control_ids[token]] = role
    for level in range(vocabulary.num_levels):
        roles[vocabulary.level_ids(level)] = _LEVEL + level
    return roles
