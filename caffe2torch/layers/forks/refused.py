"""Types of forks that are known but refused: why, and what to do."""

from __future__ import annotations

from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

_AUGMENTS = "draws FlowNet's training images at random; convert FlowNet's deploy net"
_PROPOSES = "is not converted; convert the net with the Python ProposalLayer of py-faster-rcnn"
_REASONS = {
    "DataAugmentation": _AUGMENTS,
    "FlowAugmentation": _AUGMENTS,
    "GenerateAugmentationParameters": _AUGMENTS,
    "Import": "takes its layers from another file; copy them into this one",
    "RPROI": f"TensorRT's plug-in for region proposals and ROIPooling {_PROPOSES}",
    "Reorg": "forks move its pixels in opposite orders (caffe-yolo9000 and others), and nets name no fork",
    "SimplerNMS": f"OpenCL Caffe's layer for region proposals {_PROPOSES}",
}


@converts(*_REASONS)
class Refused(Converter):
    """Refused: augmentation, imports, region proposals other than py-faster-rcnn's, and Reorg.

    Forks disagree on what Reorg does; each error says what to do.
    """

    bottom_count = (0, None)
    top_count = (0, None)
    held_against = ""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        raise self.refuse(_REASONS[layer.type])
