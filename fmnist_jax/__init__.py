"""Controlled hyper-parameter studies of small image classifiers, as one JAX program a group of runs."""
