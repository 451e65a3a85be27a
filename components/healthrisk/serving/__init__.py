"""What a model server needs besides a framework: codec, validation, hop, metrics, logs. Nothing here imports kserve."""
