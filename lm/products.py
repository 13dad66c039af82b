"""Matrix products on CPUs that torch's own library does not know well.

On CPUs torch multiplies float32 matrices with Intel's MKL, which leaves AVX-512 unused on CPUs of other makers, while
its convolutions are computed by oneDNN, which uses it everywhere. A linear layer is a convolution with a 1x1 kernel,
and in the channels-last layout nothing needs to be copied: on an AMD EPYC with AVX-512 that is twice as fast, forward
and backward. On one without both are equally fast, so there everything stays with MKL. Where weights do not change,
oneDNN may also lay them out as it likes to read them: packed, the products of one row take half the time of MKL's, and
those of 64 rows less than half. The results differ by rounding only.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

_LEAST_BATCH = 16
"""With one thread, torch leaves convolutions of smaller batches to MKL as well."""


_PACKED_FOR = 2
"""Rows; layouts chosen for 2 and for 256 were equally fast with any number of rows."""


@functools.cache
def prefers_onednn() -> bool:
    """Whether this machine's CPU is one on which oneDNN multiplies faster than MKL."""
    cpu_info = Path("/proc/cpuinfo")
    if not (cpu_info.exists() and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    return is_amd_with_avx512(cpu_info.read_text(errors="replace"))


def is_amd_with_avx512(cpu_info: str) -> bool:
    """Whether a CPU has AVX-512 that MKL leaves unused, by its /proc/cpuinfo: those of AMD since Zen 4."""
    return "AuthenticAMD" in cpu_info and "avx512f" in cpu_info


def convolved_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`F.linear` as a convolution.

    Args:
        x: (B, T, in).
        weight: (out, in).
        bias: (out,) or None.

    Returns:
        (B, T, out).
    """
    pixels = x.permute(0, 2, 1).unsqueeze(2)  # (B, in, 1, T), channels last without a copy
    return F.conv2d(pixels, weight[:, :, None, None], bias).squeeze(2).permute(0, 2, 1)


@dataclass(frozen=True, eq=False)
class PackedLinear:
    """A linear layer whose weight does not change and needs no gradient. Make it with `of`.

    Attributes:
        weight: (out, in), packed or not.
        bias: (out,) or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    def of(cls, weight: torch.Tensor, bias: torch.Tensor | None) -> PackedLinear:
        """The layer with a packed copy of `weight` (out, in), where that is faster, else with the weight itself."""
        if not prefers_onednn() or weight.dtype != torch.float32 or weight.device.type != "cpu":
            return cls(weight, bias)
        return cls(torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _PACKED_FOR), bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(N, out) of (N, in)."""
        if self.weight.is_mkldnn:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return F.linear(x, self.weight, self.bias)


def quicken_linears(model: nn.Module) -> None:
    """Has the linear layers of a model that is trained here compute their products the faster way, where there is one.

    The layers, their parameters and the model's other uses stay as they are; only the forward pass of these instances
    takes another road, for float32 on a CPU and batches that are worth it.
    """
    if not prefers_onednn():
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = functools.partial(_linear, module)  # pyright: ignore[reportAttributeAccessIssue]


def _linear(module: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    is_worth_it = x.dim() == 3 and (len(x) >= _LEAST_BATCH or torch.get_num_threads() > 1)
    if is_worth_it and x.device.type == "cpu" and x.dtype == module.weight.dtype == torch.float32:
        return convolved_linear(x, module.weight, module.bias)
    return F.linear(x, module.weight, module.bias)
