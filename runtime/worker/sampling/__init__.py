"""How the next token is chosen from a model's scores."""
