"""Drawing the codes of pictures on a server; what they cost is measured here.

A request continues one picture by a run of codes of one level, whose settings, legal ids and seed it carries: one
request a level in the order "level", and one for every run of siblings in the order "pyramid". Requests of several
pictures are under way together, so that the server makes batches of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import groupby

import torch

from ..hub.errors import InputError
from ..lm.image_sampler import DRAWN, DrawnImages, ImageDrawing
from ..lm.vocabulary import JointVocabulary
from .completion_server import CompletionServer


class RemoteDrawing:
    """Pictures of one size while a server draws them; `draw` is that of an `ImageDrawing`.

    The seed of a request comes from the uniform number of its first code, so a picture depends on its own numbers and
    on the server alone.

    Args:
        server: runs the prior of `drawing`.
        vocabulary: of its ids.
        drawing: what is to be drawn, of which nothing is yet. Its model reads the codes once, for their bits.

    Raises:
        InputError: guidance, which mixes two distributions at every code and so cannot be asked of such a server.
    """

    def __init__(self, server: CompletionServer, vocabulary: JointVocabulary, drawing: ImageDrawing):
        if any(drawing.is_guided):
            raise InputError(
                "guidance_scale must be 1 with a backend: guidance mixes what the model says with and without the "
                "words at every code, and a server of completions gives only what it has drawn"
            )
        self.server, self.drawing = server, drawing
        self._level_ids = cache(lambda level: vocabulary.level_ids(level).tolist())

    def draw(self, count: int | None = None) -> DrawnImages:
        """Draws the next `count` codes of every picture, by default all that are left; returns all so far.

        Raises:
            ServerError: see `CompletionServer`; or the model there cannot be that of `drawing`.
        """
        drawing = self.drawing
        longest = max(map(len, drawing.prompts)) + len(drawing.levels)
        self.server.check_context(longest, drawing.model.config.max_position_embeddings)
        first = drawing.position
        last = len(drawing.levels) if count is None else min(first + count, len(drawing.levels))
        rows = range(len(drawing.prompts))
        with ThreadPoolExecutor(min(self.server.num_connections, len(rows))) as executor:
            new_ids = list(executor.map(lambda row: self._complete(row, first, last), rows))
        drawing.settle(torch.tensor(new_ids, dtype=torch.int64))
        return drawing.draw(last - first)

    def _complete(self, row: int, first: int, last: int) -> list[int]:
        """The ids of one picture's codes from `first` to `last`."""
        drawing = self.drawing
        given = drawing.given[row].tolist()
        ids = [*drawing.prompts[row], *drawing.token_ids[row, :first].tolist()]
        start = len(ids)
        runs = groupby(range(first, last), key=lambda place: (drawing.levels[place], given[place] == DRAWN))
        for (level, is_drawn), places in runs:
            run = list(places)
            ids += self._ask(ids, row, level, run) if is_drawn else [given[place] for place in run]
        return ids[start:]

    def _ask(self, ids: list[int], row: int, level: int, run: list[int]) -> list[int]:
        config = self.drawing.schedule[run[0]]
        return self.server.complete(
            ids,
            self._level_ids(level),
            len(run),
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            seed=int(self.drawing.draws[row, run[0]].item() * 2**53),
        )
