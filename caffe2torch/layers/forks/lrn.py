"""LRN by a branch of BVLC's, from before Caffe's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.caffe.lrn import LRN
from caffe2torch.layers.registry import converts
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    pass


@converts("LRNMap")
class LRNMap(LRN):
    """A branch of BVLC's, from before Caffe's own: within a channel, by `lrn_map_param`."""

    held_against = "NumPy loops"
    fork_fields = frozenset({"lrn_map_param"})

    def _parameters(self) -> Fields:
        p: Fields = self.layer.fields.lrn_map_param.replace(norm_region="WITHIN_CHANNEL")
        return p
