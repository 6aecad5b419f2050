"""What engines share whose library computes and leaves prompts, memory and choices to us."""
