"""Writes torch tensors as safetensors without a copy in memory; the library's own writer makes two of everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from penjing.models.safetensors_io import TensorHeader, TensorSource, write_safetensors

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors one after the other, each from where it lies; some may share their memory.

    Args:
        path: the file.
        tensors: name → tensor, on any device.
        metadata: texts for the header.
    """
    # Wide types first, so that each begins at a multiple of its size.
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    sources = {
        name: TensorSource(TensorHeader(_NAMES[tensor.dtype], tuple(tensor.shape)), partial(_values, tensor))
        for name, tensor in ordered
    }
    write_safetensors(path, sources, metadata)


def _values(tensor: Tensor) -> Iterator[np.ndarray]:
    values = tensor.detach().cpu().contiguous()
    yield (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy()
