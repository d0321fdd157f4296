"""Loading: turns the files and code that a user names into tensors, a torch module and samples.

`checkpoint` reads weights, `data` reads samples; `model` builds the network and fills in the weights;
`factories` imports and calls the user's code. Nothing is imported here, so `cohaudit --help` starts fast.
"""
