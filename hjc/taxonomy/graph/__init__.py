"""Which codes of a tree are alike, where that is known from, and triplets drawn from it."""
