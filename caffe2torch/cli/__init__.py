"""fcn-convert: options, what they ask for, and what the screen shows."""
