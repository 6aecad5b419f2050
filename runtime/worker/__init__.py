"""The child half of an engine, spawned by name. Shares only frames, request, events and formats with the rest."""
