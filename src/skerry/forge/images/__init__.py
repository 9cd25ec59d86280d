"""Anyone's pictures, a folder for each class, to a served bundle: look, choose a net, train, calibrate, shrink, prove.

`make` is the whole way; `prepare` looks at the data, `size` chooses the net for a budget, `train` learns and goes on
where it was cut, `export` proves the ONNX file, `finish` shrinks and writes it. Never here: boxes, sounds, tables.
"""
