"""Types of arrays that all layers share."""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB, uint8 [H, W, 3]."""
