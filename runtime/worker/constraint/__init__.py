"""What form an answer must have, held at every token, for any engine; knows llguidance and numpy, and no engine."""
