"""The engines behind one protocol, one module each; each imports its own library and nobody imports it but by name."""
