"""Measures errors: of an experiment's runs and ensembles, and of any weights on any folder of images."""
