"""What fcn-repro does, one verb per file: `VERB` states its option, those it takes, and what it runs."""
