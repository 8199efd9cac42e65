"""The experiments of "Fully Convolutional Networks for Semantic Segmentation", on top of caffe2torch.

    papers/*.toml ── papers ─→ Table ┐
    nets ──────────── structure ─────┤
    data sets ─────── bounds ────────┼─ tables ─→ ours | published | difference ─→ text, Markdown, JSON, HTML
    zoo.toml ─ models ─ evaluate ────┤
    the VOC server ── voc_server ────┘

`caffe2torch` knows nothing of this package, and this package uses only its public names and its errors.
"""
