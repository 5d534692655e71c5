"From the items table to batches"
