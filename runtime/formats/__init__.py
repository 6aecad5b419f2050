"""What bytes are: pure functions from files to headers. Imports nothing of ours but errors."""
