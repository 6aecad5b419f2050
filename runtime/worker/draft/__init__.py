"""Guessing tokens ahead, so that one step of an engine checks several: what to guess, and whether it pays.

Knows token ids and durations only. It must not import an engine.
"""
