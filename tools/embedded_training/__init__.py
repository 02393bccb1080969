"""Recipe of the embedded model; run by ``tools/train_embedded_model.py``."""
