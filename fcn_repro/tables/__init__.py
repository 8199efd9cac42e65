"""The papers' tables, cell by cell, next to what was measured here."""
