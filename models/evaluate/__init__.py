"""How trained networks are tested, by the rules of the competitions."""
