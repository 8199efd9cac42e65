"""What a command answers: text for people, data for --json, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from caffe2torch.errors import Caffe2TorchError, VerificationFailed


@dataclass(frozen=True)
class Answer:
    """What a command found out: `text` for people, `data` for --json."""

    text: str
    data: dict[str, Any]
    code: int = 0


class UsageError(Caffe2TorchError):
    """Options that cannot be meant."""

    exit_code = 2


class NotVerified(VerificationFailed):
    """Carries the reports to the output."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer
