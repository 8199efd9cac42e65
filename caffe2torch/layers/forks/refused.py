"""Types of forks that are known and refused: what they are, and what to do."""

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
    "Import": "takes its layers from another file; write them into this one",
    "RPROI": f"TensorRT's plug-in for region proposals and ROIPooling {_PROPOSES}",
    "Reorg": "caffe-yolo9000 and other forks move its pixels in opposite orders, and a net tells no fork",
    "SimplerNMS": f"OpenCL Caffe's layer for region proposals {_PROPOSES}",
}


@converts(*_REASONS)
class Refused(Converter):
    """Refused: augmentation, imports, proposals of other makers than py-faster-rcnn, and Reorg.

    Forks disagree on what Reorg does; the message of each says what to do.
    """

    held_against = ""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        raise self.refuse(_REASONS[layer.type])
