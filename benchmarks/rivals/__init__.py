"""The rivals of the engine, each at its best: PyTorch, torch.func.vmap, Keras, and plain Flax.

No rival is imported before it is asked to work, so that one that is not installed fails alone, and by name.
"""
