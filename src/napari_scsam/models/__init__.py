"""Public interface of the models: ``__init__.pyi`` lists all names that other rooms may use.

A name is imported on first use, so that importing this package does not import torch. The functions
of `api` import torch only when they are called.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
