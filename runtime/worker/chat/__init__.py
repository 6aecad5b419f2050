"""From a conversation to a model's prompt, and to what its answer is read and held by. Imports nothing of the engines."""
