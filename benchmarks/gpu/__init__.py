"""What is to be found out on a machine with a GPU: correctness, speed, copies; one folder of results. See docs/gpu.md."""
