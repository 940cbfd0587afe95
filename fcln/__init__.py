"""The paper's Fully Convolutional Localization Network: photographs in, described regions out. Knows no database.

Import from the modules: `fcln.predictor` (PIL images in, numpy out), `fcln.modeling.fcln` (the network),
`fcln.training.trainer`.
"""
