"""Matrix products on CPUs that torch's own library does not know well.

On CPUs torch multiplies float32 matrices with Intel's MKL, which leaves AVX-512 unused on CPUs of other makers, while
its convolutions are computed by oneDNN, which uses it everywhere. A linear layer is a convolution with a 1x1 kernel,
and in the channels-last layout nothing needs to be copied: on an AMD EPYC with AVX-512 that is twice as fast, forward
and backward. The results differ by rounding only.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

_LEAST_BATCH = 16
"""With one thread, torch leaves convolutions of smaller batches to MKL as well."""


@functools.cache
def prefers_onednn() -> bool:
    """Whether this machine's CPU is one on which oneDNN multiplies faster than MKL."""
    cpu_info = Path("/proc/cpuinfo")
    is_amd = cpu_info.exists() and "AuthenticAMD" in cpu_info.read_text(errors="replace")
    return is_amd and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()


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
