"""The experiments of "Fully Convolutional Networks for Semantic Segmentation", on top of caffe2torch.

    papers/*.toml ── papers ─→ PaperTable ┐
    nets ──────────── structure ─────┤
    data sets ─────── bounds ────────┼─ tables ─→ ours | published | difference ─→ text, Markdown, JSON, HTML
    zoo.toml ─ models ─ evaluate ────┤
    the VOC server ── voc_server ────┘

    recipes/*.toml ─ recipes ─→ Recipe ─ initial ─→ module ─ train ─→ snapshots, logs, a model to evaluate
    data sets ─────── examples ─→ Example ────────────┘

`caffe2torch` knows nothing of this package, and this package uses only its public names and its errors.
"""
