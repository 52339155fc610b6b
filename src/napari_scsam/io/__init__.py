"""Reading images and masks, writing labels."""
