"""The experiments of "Fully Convolutional Networks for Semantic Segmentation", on top of caffe2torch.

    papers/*.toml ── papers ─→ PaperTable ┐
    nets ──────────── structure ─────┤
    data sets ─────── bounds ────────┼─ tables ─→ ours | published | difference ─→ text, Markdown, JSON, HTML
    zoo.toml ─ weights ─ evaluate ───┤
    the VOC server ── voc_server ────┘

    recipes/*.toml ─ recipes ─→ Recipe ─ first_weights ─→ module ─ loop ─→ snapshots, logs, a model
    data sets ─────── examples ─→ Example ────────────┘

`caffe2torch` does not know this package, which uses only its public names, errors and command-line rules.
"""
