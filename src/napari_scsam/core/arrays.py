"""Types of the arrays that are handed around; what an axis means is said where they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values of an image, of any real dtype.
Pixels = NDArray[Any]
# Class ids: 0 background, 1..K, 255 not annotated.
LabelArray = NDArray[np.uint8]
# Where something is.
Mask = NDArray[np.bool_]
# Log-odds of being inside, in whichever precision.
Logits = NDArray[np.floating]
# Pictures in 0..1, probabilities, networks' answers.
FloatArray = NDArray[np.float32]
# Coordinates, and what is computed of them.
DoubleArray = NDArray[np.float64]
# Whole-numbered places, for indexing.
IndexArray = NDArray[np.intp]
# (4, 4), index to millimetres.
Affine = NDArray[np.float64]
