"""What a model server needs besides a framework: codec, validation, hop, metrics, logs.

Imports inference, bundle, data and spec, and nothing that trains; kserve is for the room `servers` alone.
"""
