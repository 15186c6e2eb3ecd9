"""How good searches are at equal compute, replayed on recorded curves."""
