"""What lies on the disk and on the Hub. Imports formats, errors and config."""
