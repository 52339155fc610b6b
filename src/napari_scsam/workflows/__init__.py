"""What a command or a button does from beginning to end: predict, evaluate, segment, demo."""
