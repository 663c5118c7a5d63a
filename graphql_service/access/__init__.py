"""Who asks, and which data stores they may search."""
