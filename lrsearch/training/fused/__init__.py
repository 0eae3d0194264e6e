"""Many trials trained as one model, whose parameters are stacked along a dimension of lanes."""
