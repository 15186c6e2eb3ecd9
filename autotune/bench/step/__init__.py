"""How long optimizer steps take, beside those of other people's."""
