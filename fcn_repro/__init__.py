"""The experiments of "Fully Convolutional Networks for Semantic Segmentation", on top of caffe2torch.

    papers/*.toml ── papers ─→ Paper ─ cli ─→ what was published, and what was measured of it
    zoo.toml ─────── zoo ────→ Model          which weights were published, and where

`caffe2torch` knows nothing of this package, and this package uses only its public names and its errors.
"""
