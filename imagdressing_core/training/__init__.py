"""Training of IMAGDressing-v1: from pairs of pictures to a checkpoint that the nodes load."""
