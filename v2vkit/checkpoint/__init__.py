"""The model file, published weights and snapshots."""
