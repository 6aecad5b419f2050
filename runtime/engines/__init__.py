"""Our half of an engine: its process and who keeps it alive. Never imports an engine."""
