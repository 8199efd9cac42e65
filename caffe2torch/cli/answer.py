"""What a command answers, and how it says that a net differs from its reference."""

from __future__ import annotations

from caffe2torch.command_line import Answer as Answer
from caffe2torch.command_line import UsageError as UsageError
from caffe2torch.errors import VerificationFailed


class NotVerified(VerificationFailed):
    """Carries the reports to the output."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer
