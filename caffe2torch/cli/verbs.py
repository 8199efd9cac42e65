"""What fcn-convert can be asked for, and the options that each verb takes."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from caffe2torch.cli.files import placed
from caffe2torch.cli.source import naming
from caffe2torch.cli.answer import Answer, UsageError
from caffe2torch.command_line import Verb
from caffe2torch.formats.opening import is_mean
from caffe2torch.errors import ReadError
