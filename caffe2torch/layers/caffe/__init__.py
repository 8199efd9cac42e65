"""The layer types of BVLC Caffe."""
