"""The network on each kind of hardware: an ONNX graph on CPUs, torch on NVIDIA GPUs."""
