"""--list-layers: the layer types that are converted, and what is supported of each."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from caffe2torch.command_line import Answer


def list_layers(options: argparse.Namespace) -> Answer:
    """A line for each layer type."""
    from caffe2torch.cli import catalogue

    return Answer(catalogue.table(), {"layers": [asdict(entry) for entry in catalogue.entries()]})
