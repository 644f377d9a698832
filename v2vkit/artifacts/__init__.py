"""Sharded artifacts on disk: shards, indices, manifests."""
