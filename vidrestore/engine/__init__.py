"""A network with its meaning: card, catalogue, processing, tiling, and engines fused into one."""
