"""Training of IMAGDressing-v1: from pairs of images to a checkpoint that the nodes load."""
