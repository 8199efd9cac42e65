"""The papers' tables, cell by cell, beside what was measured here."""
