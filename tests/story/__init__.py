"""The story of a model's life on one machine, with real processes: from a good world through a worse one and back."""
