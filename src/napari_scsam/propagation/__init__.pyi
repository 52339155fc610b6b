# One line for each name that another room uses; tests/models/test_models_door.py compares.
from .api import carry as carry
from .settings import SETTINGS as SETTINGS
from .step import box_with_margin as box_with_margin
from .step import softened as softened
from .walk import Carried as Carried
from .walk import Carry as Carry
from .walk import Filled as Filled
from .walk import Trail as Trail
from .walk import iou as iou
from .walk import propagate as propagate
