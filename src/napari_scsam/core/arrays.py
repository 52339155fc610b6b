"""Array types; the meaning of their axes is documented where they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values of an image, of any real dtype.
Pixels = NDArray[Any]
# Class ids: 0 background, 1..K, 255 not annotated.
LabelArray = NDArray[np.uint8]
# Region of pixels.
Mask = NDArray[np.bool_]
# Log-odds, in any precision.
Logits = NDArray[np.floating]
# Pictures in 0..1, probabilities, outputs of networks.
FloatArray = NDArray[np.float32]
# Coordinates, and what is computed from them.
DoubleArray = NDArray[np.float64]
# Integer positions, for indexing.
IndexArray = NDArray[np.intp]
# (4, 4), index to millimetres.
Affine = NDArray[np.float64]
