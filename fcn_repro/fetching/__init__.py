"""Downloads: data sets and published weights, checked by their hashes."""
