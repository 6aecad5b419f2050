"""Finds out whether this machine and a running server serve what clients need. Asks over HTTP alone; imports no aiohttp."""
