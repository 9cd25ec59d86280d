"""Bring a model in: a model of another framework as one ONNX (or TFLite) file that is proven to answer the same."""
