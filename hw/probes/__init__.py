"""Where the readings come from: one module per kind of system, and recorded ones. Imports only `hw`."""
