"""The log is on, whatever the environment says."""

import pytest


@pytest.fixture(autouse=True)
def logging(monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "")
