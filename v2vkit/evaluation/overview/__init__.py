"""The overview of a workspace as one HTML page (`v2v report`)."""
