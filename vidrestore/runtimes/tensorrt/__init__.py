"""TensorRT: which product is there, graphs compiled to plans, and the folder that keeps the plans.

Nothing here loads a product's libraries before it is asked to; all but compiling works without them.
"""
