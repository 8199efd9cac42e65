"""Layers traced at one image size run at any other: nothing bakes a height in."""

from __future__ import annotations

import pytest
import torch

from tests.single_layer import one_layer

LAYERS = {
    "Accuracy": ("", 2, 1),
    "ArgMax": ("argmax_param { axis: 1 }", 1, 1),
    "Convolution": ("convolution_param { kernel_size: 3 num_output: 4 }", 1, 1),
    "Crop": ("crop_param { axis: 2 }", 2, 1),
    "Im2col": ("convolution_param { kernel_size: 3 pad: 1 stride: 2 }", 1, 1),
    "MVN": ("", 1, 1),
    "Pooling": ("pooling_param { kernel_size: 2 stride: 3 pool: AVE }", 1, 1),
    "Pooling of all": ("pooling_param { global_pooling: true }", 1, 2),
    "Reduction": ("reduction_param { axis: 2 operation: MEAN }", 1, 1),
    "Reshape": ("reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } }", 1, 1),
    "Slice": ("slice_param { axis: 3 slice_point: 4 }", 1, 2),
    "SoftmaxWithLoss": ("", 2, 1),
    "Tile": ("tile_param { axis: 2 tiles: 3 }", 1, 1),
}


class Positional(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return self.model(*inputs)


@pytest.mark.skipif(torch.__version__ < (2, 10), reason="torch 2.9's own check of guards fails (no 'L')")
@pytest.mark.filterwarnings("ignore")  # of torch.export's own
@pytest.mark.parametrize("case", LAYERS)
def test_traced_at_one_size_runs_at_another(case):
    parameters, bottoms, tops = LAYERS[case]
    channels = [6, 1 if case in ("Accuracy", "SoftmaxWithLoss") else 6][:bottoms]
    stated, other = ([torch.rand(2, c, *size).round() for c in channels] for size in ((9, 12), (11, 17)))
    layer = f"type: '{case.split()[0]}' {parameters}"
    model = Positional(one_layer(layer, [x.shape for x in stated], tops))
    sizes = {2: torch.export.Dim("height", min=6), 3: torch.export.Dim("width", min=6)}
    traced = torch.export.export(model, tuple(stated), dynamic_shapes=((sizes,) * bottoms,)).module()
    expected, found = model(*other), traced(*other)
    assert len(expected) == tops
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, equal_nan=True)
