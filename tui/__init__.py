"""The control center. Owns no engine, does no I/O; imports runtime types and hw."""
