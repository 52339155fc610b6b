"""Complete tasks behind a command or button: predict, evaluate, segment, demo."""
