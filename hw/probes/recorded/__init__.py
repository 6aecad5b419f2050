"""What programs printed on some machine, read without knowing which programs they were. Imports hw alone."""
