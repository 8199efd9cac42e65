"""Pages as a test sees them: their elements and texts, their pictures, and what Chromium says of them."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser


class Page(HTMLParser):
    """The page's elements, each with its attributes and text; every tag must close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.rows = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in ("img", "meta"):
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, text in self.open:
            text.append(data)

    def all(self, tag, **attributes):
        return [
            (" ".join("".join(text).split()), attrs)
            for name, attrs, text in self.elements
            if name == tag and all(attrs.get(key.rstrip("_")) == value for key, value in attributes.items())
        ]


def decoded(address):
    return io.BytesIO(base64.b64decode(address.split(",")[1]))


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--no-first-run", "--disable-extensions", "--enable-logging=stderr"),
)


def browsed(folder, text):
    """The page after Chromium had it, what it said on its console, and who made requests."""
    (folder / "report.html").write_text(text)
    nowhere = ("--proxy-server=127.0.0.1:9", f"--user-data-dir={folder / 'profile'}")
    seen = subprocess.run(
        [CHROMIUM, *QUIET, *nowhere, f"--log-net-log={folder / 'net'}", "--dump-dom", folder / "report.html"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert seen.returncode == 0, seen.stderr[-2000:]
    said = [line for line in seen.stderr.splitlines() if "CONSOLE" in line]
    return seen.stdout, said, set(re.findall(r'"initiator":"([^"]*)"', (folder / "net").read_text()))


BROWSER_ITSELF = {"not an origin"}
