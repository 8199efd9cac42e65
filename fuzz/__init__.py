"""Random damage to strangers' files, guided by what it makes the readers do: see __main__.py."""
