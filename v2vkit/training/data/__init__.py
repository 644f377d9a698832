"""From shards to batches: which sequences a step trains on, how they are read, cached, augmented and loaded ahead."""
