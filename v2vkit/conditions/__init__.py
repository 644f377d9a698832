"""Estimator output to source maps, in numpy and OpenCV."""
