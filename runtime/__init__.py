"""From one request to one stream of events. Knows no HTTP and no widget; imports only `hw` and itself."""
