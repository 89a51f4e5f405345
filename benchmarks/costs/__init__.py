"""What a study takes, told beforehand: short studies measured, and physical terms fitted to them."""
