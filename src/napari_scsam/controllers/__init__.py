"""What the person does, without Qt."""
