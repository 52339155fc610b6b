"""The only door to the models: ``__init__.pyi`` lists what other rooms may use, and where it is.

A name is imported when it is first used, so that importing this brings no torch. The functions of
`api` import it only when they are called.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
