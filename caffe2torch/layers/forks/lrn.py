"""LRNMap: the LRN of a BVLC branch, older than Caffe's own."""

from __future__ import annotations

from caffe2torch.layers.caffe.lrn import LRN
from caffe2torch.layers.registry import converts
from caffe2torch.net.fields import Fields


@converts("LRNMap")
class LRNMap(LRN):
    """A BVLC branch's, older than Caffe's own: within a channel, by `lrn_map_param`."""

    held_against = "NumPy loops"
    fork_fields = frozenset({"lrn_map_param"})

    def _parameters(self) -> Fields:
        p: Fields = self.layer.fields.lrn_map_param.replace(norm_region="WITHIN_CHANNEL")
        return p
