"""One pure module per wire format. None knows aiohttp or a sibling."""
