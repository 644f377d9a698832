"""Conditions: from estimator results or label maps to the channels that networks see, in numpy and OpenCV."""
