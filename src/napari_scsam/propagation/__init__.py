"""From outlined slices to a volume; ``__init__.pyi`` lists what other rooms may use.

A name is imported when it is first used, so that importing this brings no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
