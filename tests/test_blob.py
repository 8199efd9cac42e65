"""Tensors and kernels as blobs: one way for every reader and writer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffe2torch.blob import blob_of, dense, diagonal_of, is_diagonal


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("float32", "<f4"), ("float64", "<f8"), ("float16", "<f4"), ("bfloat16", "<f4")],
)
def test_a_tensor_is_float32_or_exact(dtype: str, stored: str) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    for blob, wanted in ((blob_of(tensor), "<f4"), (blob_of(tensor, (6, 1), exact=True), stored)):
        assert (blob.dtype, blob.read().dtype) == (wanted, wanted)
        assert blob.read().reshape(-1).tolist() == [0, 1, 2, 3, 4, 5]
    assert (blob_of(tensor).shape, blob_of(tensor, (6, 1)).shape) == ((2, 3), (6, 1))


def test_a_blob_follows_its_tensor() -> None:
    """Also one that is not in one piece, and one that a module trains."""
    for tensor in (
        torch.zeros(2, 3),
        torch.zeros(3, 2, dtype=torch.float16).T,
        torch.nn.Parameter(torch.zeros(2, 3)),
    ):
        blob = blob_of(tensor)
        with torch.no_grad():
            tensor[1, 2] = 5
        assert blob.read().tolist() == [[0, 0, 0], [0, 0, 5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_diagonal_and_back(dtype: torch.dtype) -> None:
    tensor = torch.arange(1, 25).reshape(4, 1, 2, 3).to(dtype)
    whole = blob_of(tensor, diagonal=True, exact=True)
    assert (whole.shape, whole.dtype) == ((4, 4, 2, 3), whole.read().dtype)
    assert is_diagonal(whole.read())
    assert np.count_nonzero(whole.read()) == tensor.numel()
    assert np.array_equal(diagonal_of(whole.read()), tensor.numpy())
    assert dense((4, 4, 2, 3), lambda: tensor.numpy()).shape == whole.shape


def test_a_kernel_that_mixes_channels() -> None:
    kernel = np.zeros((3, 3, 2, 2), np.float32)
    kernel[range(3), range(3)] = np.nan
    assert is_diagonal(kernel)
    kernel[2, 0, 1, 1] = 1e-40
    assert not is_diagonal(kernel)
