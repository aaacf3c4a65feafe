"""Measurements of the pipeline itself."""
