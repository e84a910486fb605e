"""The cluster: a coordinator that listens, workers that dial out to it, and authenticated connections between them."""
