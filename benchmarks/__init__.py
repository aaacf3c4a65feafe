"""Measurements of this project against what people use today, both in one run on the same work."""
