"From batches to a trained network that is kept"
