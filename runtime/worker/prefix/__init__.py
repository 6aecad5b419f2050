"""What is kept of computed prompts, in memory and on the disk. Knows no engine: a state is bytes to it."""
