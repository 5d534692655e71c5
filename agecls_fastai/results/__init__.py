"From run folders to figures that can be believed"
