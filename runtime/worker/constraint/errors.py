"""What is wrong with a constraint."""

from __future__ import annotations


class NotHeld(Exception):
    """A constraint is malformed, or cannot be held to the letter; the text says what and where, for the user."""
