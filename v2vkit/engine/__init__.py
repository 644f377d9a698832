"""Where shards are mapped."""
