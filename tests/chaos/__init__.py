"""Faults on purpose: `make chaos`. Drawn from a seed, so that a failure can be repeated by it."""
