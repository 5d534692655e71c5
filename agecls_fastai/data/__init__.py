"Pictures, and who is in them; no PyTorch"
