"""Two models, or two files, and what differs between them."""
