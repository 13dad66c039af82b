"""Decoding with shapes that never change, as a GPU likes it: single steps become one CUDA graph that is replayed.

A growing cache gives every step other shapes, and a small model's step is then bound by the launching of its kernels.
Here attention always looks at the whole block of keys and values, with what is not there yet hidden by a mask, so one
recorded graph serves every step. On a CPU, which has no launches to save, the growing cache is faster.
"""

from __future__ import annotations

import torch

from .fused_decoder import FusedDecoding
from .fused_prior import FusedPrior

_WARM_UPS = 3
"""Runs before the recording, in which libraries choose their kernels."""


class StaticDecoding(FusedDecoding):
    """`FusedDecoding` whose single steps have constant shapes; prompts, and any M > 1, are read as there.

    Args:
        prior: the weights.
        input_ids: LongTensor (B, T), padded on the left.
        padding: LongTensor (B,), the padding of each row.
        num_new: most tokens that will be appended.
        graphed: record the step as a CUDA graph; needs a CUDA device.
    """

    def __init__(
        self, prior: FusedPrior, input_ids: torch.Tensor, padding: torch.Tensor, num_new: int, *, graphed: bool
    ):
        self._graphed = graphed
        self._graph: torch.cuda.CUDAGraph | None = None
        super().__init__(prior, input_ids, padding, num_new)
        self._new_buffers(len(input_ids))

    def append(self, ids: torch.Tensor) -> None:
        """See `decoder.Decoding`."""
        if ids.shape[1] > 1:
            super().append(ids)
            return
        self._ids.copy_(ids)
        self._place.fill_(self.length)
        if not self._graphed:
            self._hidden = self._step()
        else:
            if self._graph is None:
                self._record()
            assert self._graph is not None
            self._graph.replay()
            self._hidden = self._output
        self.length += 1

    def select(self, rows: torch.Tensor) -> None:
        """See `decoder.Decoding`."""
        self._hidden = self._hidden.clone()  # out of the graph's memory, which goes
        self._graph = None
        super().select(rows)
        self._new_buffers(len(rows))

    def _new_buffers(self, count: int) -> None:
        """What a step reads: the tokens, their place, and what is hidden from the rows' beginnings."""
        device = self.prior.embeddings.device
        for block in (self.keys, self.values):
            block[:, :, self.length :] = 0  # a step multiplies what was never written by a weight of zero
        self._ids = torch.zeros(count, 1, dtype=torch.int64, device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._places = torch.arange(self.capacity, device=device)
        self._padded = (
            self.padding if self.padding is not None else torch.zeros(count, dtype=torch.int64, device=device)
        )

    def _step(self) -> torch.Tensor:
        """(B, 1, width): one token per row, at the place that the buffers say."""
        prior = self.prior
        positions = self._place - self._padded[:, None]  # (B, 1)
        hidden = (self._places > self._place) | (self._places < self._padded[:, None])  # (B, capacity)
        mask = torch.zeros(hidden.shape, dtype=self.cos.dtype, device=hidden.device).masked_fill(hidden, -torch.inf)
        mask = mask.repeat_interleave(prior.num_kv_heads, 0)[:, None]
        cos, sin = self.cos[positions][:, :, None], self.sin[positions][:, :, None]
        return self._forward(self._ids, self._place, self.capacity, cos, sin, mask)

    def _record(self) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):  # the place stays, so that a repeated step writes the same
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = self._step()
