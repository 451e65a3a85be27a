"""The pipeline's steps: thin KFP components, one a file, that call the library. The one room that imports kfp.

Each runs unchanged in a local process and in a container. Imports any room.
"""
