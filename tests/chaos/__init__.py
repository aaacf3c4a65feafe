"""Faults on purpose: `make chaos`. Seeded, so that a failure can be had again by its seed."""
