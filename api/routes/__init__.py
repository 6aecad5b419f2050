"""Handlers of a few lines, one module per family of routes."""
