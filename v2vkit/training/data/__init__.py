"""Training data, from shards to batches: sampling, reading, caching, augmentation and loading in advance."""
