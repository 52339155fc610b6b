"""Propagation of masks from some slices to a volume; ``__init__.pyi`` is its interface.

Names are imported when they are first used, so that importing the package does not import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
