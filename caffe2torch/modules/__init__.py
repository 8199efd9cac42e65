"""Torch modules: any net as a CaffeNet, the papers' FCNs, and how close they come to Caffe."""
