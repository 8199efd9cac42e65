"""What fcn-repro does, one verb a file: `VERB` states its option, the options it takes, and what it runs."""
