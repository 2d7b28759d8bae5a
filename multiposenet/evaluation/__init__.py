"""Metrics of the published tables."""
