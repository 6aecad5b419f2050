"""What all engines have in common that give vectors or scores instead of text."""
