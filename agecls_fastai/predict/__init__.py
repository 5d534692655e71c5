"From photographs to answers"
