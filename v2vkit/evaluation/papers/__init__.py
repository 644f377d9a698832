"""Tables of the papers: evaluations of several models side by side, with the published numbers."""
