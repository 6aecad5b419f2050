"""How families of models write tool calls and reasoning, one module each. Imports nothing of the engines."""
