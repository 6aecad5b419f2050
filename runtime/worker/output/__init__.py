"""From tokens to text that may be handed out. Imports nothing above the worker."""
