"Arithmetic that knows no file: scores, intervals, sets, temperatures; no PyTorch"
