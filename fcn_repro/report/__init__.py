"""Results as terminal text, Markdown, JSON and pages with pictures."""
