"""Caffe's solvers as torch optimizers, and the files that Caffe needs to train a net."""
