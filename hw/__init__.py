"""What the machine is and how hard it works. Knows no model; imports nothing of ours."""
