"""Where the models answer: in this process or in one of their own, now or ahead of the person."""
