"""The networks and losses of the papers, in torch."""
