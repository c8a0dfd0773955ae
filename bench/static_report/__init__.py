"""Evidence about CUDA kernels that needs no GPU: see bench/README.md."""
